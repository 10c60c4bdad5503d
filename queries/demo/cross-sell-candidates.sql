-- Who has a salary paid in and money to spare, but no term deposit? To offer one to.
-- Settlement's payments and deposits, Accounting's customers and balances.
WITH salaries AS (
    SELECT account_id, count(*) AS months, max(amount) AS salary
    FROM settlement.payment
    WHERE kind = 'salary' AND amount > 0 AND booked_on >= DATE '2025-07-01'
    GROUP BY account_id
)
SELECT customer.customer_id, customer.name_en, customer.phone, salaries.months, salaries.salary, account.balance
FROM salaries
JOIN accounting.account ON account.account_id = salaries.account_id
JOIN accounting.holding ON holding.account_id = account.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
WHERE account.balance > 3 * salaries.salary
  AND account.account_id NOT IN (SELECT account_id FROM settlement.term_deposit WHERE status = 'open')
ORDER BY account.balance DESC, customer.customer_id, account.account_id
LIMIT 20
