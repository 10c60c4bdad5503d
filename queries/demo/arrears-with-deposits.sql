-- Who is late with a loan although a term deposit of his lies with us?
-- Credit's loans, Settlement's deposits, Accounting's customers.
SELECT customer.customer_id, customer.name_en, customer.phone, loan.status, loan.days_past_due, loan.outstanding,
       sum(term_deposit.amount) AS deposits
FROM credit.loan
JOIN accounting.holding ON holding.account_id = loan.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
JOIN settlement.term_deposit ON term_deposit.account_id = loan.account_id AND term_deposit.status = 'open'
WHERE loan.status IN ('arrears', 'default')
GROUP BY customer.customer_id, customer.name_en, customer.phone, loan.loan_id, loan.status, loan.days_past_due, loan.outstanding
ORDER BY loan.outstanding DESC, customer.customer_id
