-- Which sleeping accounts hold the most, and when did their owners last move money themselves?
-- Accounting's accounts, Settlement's payments.
SELECT customer.customer_id, customer.name_en, customer.phone, account.account_id, account.balance, max(payment.booked_on) AS last_moved
FROM accounting.account
JOIN accounting.holding ON holding.account_id = account.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
LEFT JOIN settlement.payment ON payment.account_id = account.account_id AND payment.kind <> 'interest'
WHERE account.status = 'dormant'
GROUP BY customer.customer_id, customer.name_en, customer.phone, account.account_id, account.balance
ORDER BY account.balance DESC, account.account_id
LIMIT 20
