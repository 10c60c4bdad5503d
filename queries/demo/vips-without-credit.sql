-- Which customers with much money here have neither a loan to repay nor a card?
-- Accounting's balances, Credit's loans and cards.
WITH wealth AS (
    SELECT holding.customer_id, sum(account.balance) AS balance
    FROM accounting.account
    JOIN accounting.holding ON holding.account_id = account.account_id AND holding.role = 'owner'
    GROUP BY holding.customer_id
    HAVING sum(account.balance) > 100000
)
SELECT customer.customer_id, customer.name_en, customer.phone, wealth.balance
FROM wealth
JOIN accounting.customer ON customer.customer_id = wealth.customer_id
WHERE wealth.customer_id NOT IN (
        SELECT holding.customer_id
        FROM credit.loan
        JOIN accounting.holding ON holding.account_id = loan.account_id AND holding.role = 'owner'
        WHERE loan.outstanding > 0
    )
  AND wealth.customer_id NOT IN (
        SELECT holding.customer_id FROM credit.card JOIN accounting.holding ON holding.holding_id = card.holding_id
    )
ORDER BY wealth.balance DESC, customer.customer_id
LIMIT 20
