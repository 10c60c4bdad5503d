-- Whose term deposits mature in January 2026, and what do they hold besides?
-- Settlement's deposits, Accounting's customers and balances.
SELECT customer.customer_id, customer.name_en, customer.phone, term_deposit.deposit_id, term_deposit.matures_on, term_deposit.amount,
       account.balance
FROM settlement.term_deposit
JOIN accounting.account ON account.account_id = term_deposit.account_id
JOIN accounting.holding ON holding.account_id = account.account_id AND holding.role = 'owner'
JOIN accounting.customer ON customer.customer_id = holding.customer_id
WHERE term_deposit.status = 'open'
  AND term_deposit.matures_on >= DATE '2026-01-01' AND term_deposit.matures_on < DATE '2026-02-01'
ORDER BY term_deposit.matures_on, term_deposit.amount DESC, term_deposit.deposit_id
