-- What does each branch hold, owe and have at risk?
-- Accounting's customers and balances, Credit's loans: aggregated apart, then joined, so that neither multiplies the other.
WITH balances AS (
    SELECT customer.branch_id, count(DISTINCT customer.customer_id) AS customers, sum(account.balance) AS deposits
    FROM accounting.customer
    JOIN accounting.holding ON holding.customer_id = customer.customer_id AND holding.role = 'owner'
    JOIN accounting.account ON account.account_id = holding.account_id
    GROUP BY customer.branch_id
),
debts AS (
    SELECT customer.branch_id,
           sum(loan.outstanding) AS loans,
           sum(CASE WHEN loan.status IN ('arrears', 'default') THEN loan.outstanding ELSE 0 END) AS at_risk
    FROM credit.loan
    JOIN accounting.holding ON holding.account_id = loan.account_id AND holding.role = 'owner'
    JOIN accounting.customer ON customer.customer_id = holding.customer_id
    GROUP BY customer.branch_id
)
SELECT branch.city, branch.region, balances.customers, balances.deposits, debts.loans, debts.at_risk
FROM accounting.branch
JOIN balances ON balances.branch_id = branch.branch_id
LEFT JOIN debts ON debts.branch_id = branch.branch_id
ORDER BY balances.deposits DESC
