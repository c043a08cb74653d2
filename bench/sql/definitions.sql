-- The definitions of the ingest series: twenty traits, ten segments, three routes.
-- The destination is paused: messages for it are written and wait, no worker interferes with the clock.
SELECT count(cdp.define_trait('count_' || e || '_' || d, format('events.%s.count_%sd', e, d)))
FROM unnest(ARRAY['view', 'click', 'order', 'login']) AS e, unnest(ARRAY[7, 30]) AS d;
SELECT count(cdp.define_trait('days_' || e, format('events.%s.unique_days_14d', e)))
FROM unnest(ARRAY['view', 'click', 'order', 'login']) AS e;
SELECT count(cdp.define_trait('sum_' || d, format('events.order.sum_%sd(total)', d))) FROM unnest(ARRAY[7, 30, 90]) AS d;
SELECT cdp.define_trait('ltv', 'events.order.sum(total)'), cdp.define_trait('average', 'events.order.avg(total)'),
       cdp.define_trait('largest', 'events.order.max(total)'), cdp.define_trait('first_page', 'events.view.first(path)'),
       cdp.define_trait('last_page', 'events.view.last(path)');
SELECT count(cdp.define_segment('segment_' || n, format('count_view_7 >= %s && count_order_30 >= %s', n, n / 2)))
FROM generate_series(1, 9) AS n;
SELECT cdp.define_segment('recent', 'last_seen_minutes_ago < 1440');
SELECT cdp.define_destination('bench', 'webhook', '{"url": "https://bench.invalid/"}');
SELECT cdp.define_route('bench', ARRAY['order'], 'total > 990');
SELECT cdp.define_route('bench', ARRAY['login'], 'total > 995');
SELECT cdp.define_route('bench', ARRAY['Segment Entered', 'Segment Exited'], 'properties.segment == "segment_9"');
SELECT cdp.pause_destination('bench', 'benchmark');
