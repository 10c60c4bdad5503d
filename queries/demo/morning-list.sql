-- Whom does a branch call first this morning, and why? Each reason counts once for a customer and has a weight.
-- Credit's loans and cards, Settlement's deposits, Accounting's customers and accounts; a clerk sees his branch's customers.
WITH reasons AS (
    SELECT holding.customer_id, 5 AS weight, 'late with a loan' AS reason
    FROM credit.loan
    JOIN accounting.holding ON holding.account_id = loan.account_id AND holding.role = 'owner'
    WHERE loan.status IN ('arrears', 'default')
    UNION ALL
    SELECT holding.customer_id, 3 AS weight, 'a deposit matures' AS reason
    FROM settlement.term_deposit
    JOIN accounting.holding ON holding.account_id = term_deposit.account_id AND holding.role = 'owner'
    WHERE term_deposit.status = 'open'
      AND term_deposit.matures_on >= DATE '2026-01-01' AND term_deposit.matures_on < DATE '2026-02-01'
    UNION ALL
    SELECT holding.customer_id, 2 AS weight, 'a card nearly used up' AS reason
    FROM credit.card
    JOIN accounting.holding ON holding.holding_id = card.holding_id AND holding.role = 'owner'
    WHERE 10 * card.used > 9 * card.credit_limit
    UNION ALL
    SELECT holding.customer_id, 1 AS weight, 'an account sleeps' AS reason
    FROM accounting.account
    JOIN accounting.holding ON holding.account_id = account.account_id AND holding.role = 'owner'
    WHERE account.status = 'dormant'
),
once AS (
    SELECT customer_id, reason, max(weight) AS weight FROM reasons GROUP BY customer_id, reason
)
SELECT customer.customer_id, customer.name_en, customer.phone, sum(once.weight) AS urgency,
       string_agg(once.reason, ', ' ORDER BY once.weight DESC) AS reasons
FROM once
JOIN accounting.customer ON customer.customer_id = once.customer_id
GROUP BY customer.customer_id, customer.name_en, customer.phone
ORDER BY urgency DESC, customer.customer_id
LIMIT 20
