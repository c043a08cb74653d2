-- What the shop sees: segments, its best customers, and the answer of a flag with its reasons.
SELECT cdp.now() AS now, key AS segment, (SELECT count(*) FROM cdp.members(key)) AS members, rule FROM cdp.segment_definitions ORDER BY key;

SELECT user_ids[1] AS customer, traits ->> 'cohort' AS cohort, (cdp.trait(user_ids[1], 'ltv'))::numeric AS ltv,
    cdp.trait(user_ids[1], 'orders_90d') AS orders_90d, cdp.trait(user_ids[1], 'last_order_days') AS last_order_days,
    cdp.trait(user_ids[1], 'power_buyer') AS power_buyer, array(SELECT key FROM cdp.segments(user_ids[1])) AS segments,
    (cdp.decide(user_ids[1], 'win_back_offer')).allow AS win_back_offer
FROM cdp.people ORDER BY ltv DESC LIMIT 8;
