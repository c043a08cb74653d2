-- What the shop wants to know, and who has to hear of it. :sink is the address of a webhook receiver.
SELECT key, kind, config FROM cdp.define_destination('hook', 'webhook', jsonb_build_object('url', :'sink' || '/cdnow'));
SELECT destination, events FROM cdp.define_route('hook', ARRAY['Segment Entered', 'Segment Exited']);

-- The purchases are not there yet: a notice that nobody has seen the event is expected here.
SET client_min_messages = error;
SELECT key, expression, result_type FROM cdp.define_trait('ltv', 'events."Order Completed".sum(amount)', 'all they ever paid, in US dollars');
SELECT key, expression, result_type FROM cdp.define_trait('orders_90d', 'events."Order Completed".count_90d');
SELECT key, expression, result_type FROM cdp.define_trait('last_order_days', 'events."Order Completed".last_seen_days_ago');
SELECT key, expression, result_type FROM cdp.define_trait('power_buyer', 'orders_90d >= 3 and ltv >= 250');

SELECT key, rule FROM cdp.define_segment('vip', 'power_buyer');
SELECT key, rule FROM cdp.define_segment('lapsing', 'ltv >= 250 and last_order_days >= 60 and last_order_days < 180');

SELECT key, rule FROM cdp.define_flag('win_back_offer', 'segment("lapsing") and ltv >= 500');
