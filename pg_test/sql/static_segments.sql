-- Segments whose members are listed: lists, merges and splits, references, overlap, counts.
SET cdp.clock = '2026-03-01 12:00:00Z';
SELECT count(*) FROM cdp.ingest('[
  {"type":"identify","userId":"ann","traits":{"email":"Ann@example.com"},"messageId":"m1"},
  {"type":"identify","userId":"bob","traits":{"plan":"pro"},"messageId":"m2"},
  {"type":"track","anonymousId":"anon","event":"visit","messageId":"m3"}]');
SELECT key, rule, members, sync_to FROM cdp.define_static_segment('vip', '{ann}', 'By hand');
SELECT user_id, since FROM cdp.members('vip');
SELECT cdp.in_segment('ann', 'vip'), cdp.in_segment('bob', 'vip'), cdp.in_segment('nobody', 'vip');

-- Any identifier will do, also one that nobody is known by yet; twice is once.
SELECT cdp.add_members('vip', '{bob,bob,ANN@example.com,Zoe@Example.com,zed}');
SELECT cdp.add_members('vip', '{bob}');
SELECT user_id, since FROM cdp.members('vip');
SELECT kind, value, profile_id IS NOT NULL AS is_known FROM cdp.segment_lists ORDER BY value;
SET cdp.clock = '2026-03-01 13:00:00Z';
SELECT status FROM cdp.identify('zoe', '{"email": "zoe@example.com"}', message_id => 'm4');
SELECT status FROM cdp.track('zed', 'visit', message_id => 'm5');
SELECT user_id, since FROM cdp.members('vip') ORDER BY user_id;
SELECT what, key, new, cause FROM cdp.history('zed');

-- Other definitions refer to it.
SELECT rule, members FROM cdp.define_segment('vip_pro', 'segment("vip") && profile.plan == "pro"');
SELECT key, expression FROM cdp.define_trait('treatment', 'if(vip, "gold", "plain")');
SELECT cdp.trait('bob', 'treatment'), cdp.evaluate('anon', 'vip or bucket("x") >= 0');
SELECT members, profiles FROM cdp.preview('not segment("vip")');
SELECT depth, expression, value FROM cdp.explain_segment('bob', 'vip_pro');
SELECT depth, expression, value FROM cdp.explain_segment('bob', 'vip');
SELECT key, members FROM cdp.segment_definitions ORDER BY key;
SELECT * FROM cdp.segment_overlap('vip', 'vip_pro');

-- A list follows the identifiers through merges and splits.
SELECT status FROM cdp.identify('ivy', '{}', 'anon', message_id => 'm6');
SELECT cdp.add_members('vip', '{anon}', kind => 'anonymous_id');
SELECT cdp.in_segment('ivy', 'vip');
SELECT cdp.unmerge('ivy', 'anon') IS NOT NULL AS split;
SELECT cdp.in_segment('ivy', 'vip') AS ivy, cdp.in_segment('anon', 'vip') AS anon;

-- Off the list, by any identifier of the person.
SELECT cdp.remove_members('vip', '{ann@example.com,bob,stranger}');
SELECT user_id FROM cdp.members('vip') ORDER BY user_id;
SELECT user_id FROM cdp.members('vip_pro');
SELECT what, key, new, cause FROM cdp.history('bob') WHERE what = 'segment' ORDER BY at, key;

-- The whole list again; without ids it stays.
SELECT members FROM cdp.define_static_segment('vip', '{zed,ann}');
SELECT user_id FROM cdp.members('vip') ORDER BY user_id;
SELECT members, description FROM cdp.define_static_segment('vip', description => 'Still by hand');
SELECT members FROM cdp.define_static_segment('empty');

-- A person by profile id, and what merges do to it.
SELECT cdp.add_members('empty', ARRAY[cdp.resolve('anon')::text]);
SELECT count(*) FROM cdp.members('empty');

-- With a rule it is an ordinary segment, and the list is gone.
SELECT rule, members FROM cdp.define_segment('empty', 'profile.plan == "pro"');
SELECT count(*) FROM cdp.segment_lists WHERE segment = 'empty';
SELECT members FROM cdp.define_static_segment('empty', '{ann}');
SELECT user_id FROM cdp.members('empty');
SELECT rule, members FROM cdp.define_segment('empty', 'profile.plan == "pro"');

-- What is refused.
\set VERBOSITY verbose
SELECT cdp.add_members('vip_pro', '{ann}');
SELECT cdp.add_members('vipp', '{ann}');
SELECT cdp.add_members('vip', '{""}');
SELECT cdp.add_members('vip', NULL);
SELECT cdp.add_members('vip', '{x}', kind => 'nonsense');
SELECT cdp.drop_segment('vip');
SELECT * FROM cdp.segment_overlap('vip', 'vipp');
\set VERBOSITY default
SELECT cdp.drop_trait('treatment'), cdp.drop_segment('vip_pro'), cdp.drop_segment('vip');
SELECT count(*) FROM cdp.segment_lists;

-- What destinations hear of it.
SET client_min_messages = warning;
SET cdp.http_allow_hosts = '127.0.0.1:9';
SELECT key FROM cdp.define_destination('hook', 'webhook', '{"url": "http://127.0.0.1:9/in"}');
SELECT members FROM cdp.define_static_segment('synced', '{ann}', sync_to => '{hook}');
SELECT cdp.remove_members('synced', '{ann@example.com}');
SELECT payload->>'event' AS event, payload->'properties' AS properties, status FROM cdp.deliveries ORDER BY delivery_id;

-- Traits of a group reach the members who are not in the batch.
SELECT rule FROM cdp.define_segment('enterprise', 'group.plan == "enterprise"');
SELECT count(*) FROM cdp.ingest('[
  {"type":"group","userId":"bob","groupId":"acme","traits":{"plan":"free"},"messageId":"g1"},
  {"type":"group","userId":"zed","groupId":"acme","messageId":"g2"}]');
SELECT count(*) FROM cdp.members('enterprise');
SELECT status FROM cdp."group"('bob', 'acme', '{"plan": "enterprise"}', message_id => 'g3');
SELECT user_id FROM cdp.members('enterprise') ORDER BY user_id;
SELECT cdp.run_due() > 0 AS done;
SELECT user_id FROM cdp.members('enterprise') ORDER BY user_id;
SELECT members FROM cdp.segment_definitions WHERE key = 'enterprise';
