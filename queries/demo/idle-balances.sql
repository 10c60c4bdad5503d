-- Where does much money lie idle: a high balance, nothing moved for half a year, no term deposit?
-- Accounting's accounts, Settlement's payments and deposits.
SELECT customer.customer_id, customer.name_en, branch.city, account.account_id, account.balance, max(payment.booked_on) AS last_moved
FROM accounting.account
JOIN accounting.holding ON holding.account_id = account.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
JOIN accounting.branch ON branch.branch_id = customer.branch_id
JOIN settlement.payment ON payment.account_id = account.account_id
WHERE account.balance > 100000 AND payment.kind <> 'interest'
  AND account.account_id NOT IN (SELECT account_id FROM settlement.term_deposit WHERE status = 'open')
GROUP BY customer.customer_id, customer.name_en, branch.city, account.account_id, account.balance
HAVING max(payment.booked_on) < DATE '2025-07-01'
ORDER BY account.balance DESC, account.account_id
LIMIT 20
