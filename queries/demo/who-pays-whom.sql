-- Which companies pay which other customers of ours the most? Up- and downstream of a business.
-- Settlement's payments between the bank's own accounts, Accounting's holders on either side.
SELECT payer.name_en AS payer, payer.industry, payee.name_en AS payee, count(*) AS payments, -sum(payment.amount) AS paid
FROM settlement.payment
JOIN accounting.holding AS payer_holding ON payer_holding.account_id = payment.account_id AND payer_holding.role = 'owner'
JOIN accounting.customer AS payer ON payer.customer_id = payer_holding.customer_id
JOIN accounting.holding AS payee_holding ON payee_holding.account_id = payment.counterparty_account AND payee_holding.role = 'owner'
JOIN accounting.customer AS payee ON payee.customer_id = payee_holding.customer_id
WHERE payment.amount < 0 AND payment.kind = 'invoice' AND payer.kind = 'company'
GROUP BY payer.customer_id, payer.name_en, payer.industry, payee.customer_id, payee.name_en
ORDER BY paid DESC, payer.customer_id, payee.customer_id
LIMIT 20
