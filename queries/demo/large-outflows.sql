-- Which accounts paid out more in December 2025 than three times their usual month, and who borrows from us among them?
-- Settlement's payments, Credit's loans, Accounting's customers.
WITH months AS (
    SELECT account_id, date_trunc('month', booked_on) AS month, -sum(amount) AS paid_out
    FROM settlement.payment
    WHERE amount < 0 AND booked_on >= DATE '2025-01-01'
    GROUP BY account_id, date_trunc('month', booked_on)
),
usual AS (
    SELECT account_id, avg(paid_out) AS paid_out FROM months WHERE month < TIMESTAMP '2025-12-01 00:00:00' GROUP BY account_id
)
SELECT customer.customer_id, customer.name_en, months.paid_out, usual.paid_out AS usually, loan.outstanding
FROM months
JOIN usual ON usual.account_id = months.account_id
JOIN accounting.holding ON holding.account_id = months.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
LEFT JOIN credit.loan ON loan.account_id = months.account_id AND loan.outstanding > 0
WHERE months.month = TIMESTAMP '2025-12-01 00:00:00' AND months.paid_out > 50000 AND months.paid_out > 3 * usual.paid_out
ORDER BY months.paid_out DESC, customer.customer_id
LIMIT 20
