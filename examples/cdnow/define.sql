-- What the shop wants to know, and who has to hear of it. :sink is the address of a webhook receiver.
\o /dev/null
SELECT cdp.define_destination('hook', 'webhook', jsonb_build_object('url', :'sink' || '/cdnow'));
SELECT cdp.define_route('hook', ARRAY['Segment Entered', 'Segment Exited']);

-- The purchases are not there yet: a warning that nobody has seen the event is expected here.
SET client_min_messages = error;
SELECT cdp.define_trait('ltv', 'events."Order Completed".sum(amount)', 'all they ever paid, in US dollars');
SELECT cdp.define_trait('orders_90d', 'events."Order Completed".count_90d');
SELECT cdp.define_trait('last_order_days', 'events."Order Completed".last_seen_days_ago');
SELECT cdp.define_trait('power_buyer', 'orders_90d >= 3 and ltv >= 250');

SELECT cdp.define_segment('vip', 'power_buyer');
SELECT cdp.define_segment('lapsing', 'ltv >= 250 and last_order_days >= 60 and last_order_days < 180');

SELECT cdp.define_flag('win_back_offer', 'segment("lapsing") and ltv >= 500');
\o

SELECT what, key, definition
FROM (
    SELECT 1, 'trait', key, expression FROM cdp.trait_definitions
    UNION ALL SELECT 2, 'segment', key, rule FROM cdp.segment_definitions
    UNION ALL SELECT 3, 'flag', key, rule FROM cdp.flags
    UNION ALL SELECT 4, 'route', destination, array_to_string(events, ', ') FROM cdp.routes
) AS defined (number, what, key, definition)
ORDER BY number, key;
