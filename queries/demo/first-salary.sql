-- Whose first salary arrived in the last quarter? New customers to offer a card to.
-- Settlement's payments, Accounting's customers, and Credit's cards, which they do not have.
SELECT customer.customer_id, customer.name_en, customer.name_zh, min(payment.booked_on) AS first_salary, max(payment.amount) AS salary
FROM settlement.payment
JOIN accounting.holding ON holding.account_id = payment.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
LEFT JOIN credit.card ON card.holding_id = holding.holding_id
WHERE payment.kind = 'salary' AND payment.amount > 0 AND card.card_id IS NULL
GROUP BY customer.customer_id, customer.name_en, customer.name_zh
HAVING min(payment.booked_on) >= DATE '2025-10-01'
ORDER BY salary DESC, customer.customer_id
LIMIT 20
