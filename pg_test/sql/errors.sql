-- A single call with a bad argument says which, and what to do.
\set VERBOSITY verbose
SELECT cdp.track('u1', ' ');
SELECT cdp.track(NULL, 'x');
SELECT cdp.track('u1', 'x', '[1]');
SELECT cdp.track('u1', 'x', namespace => 'acme');
SELECT cdp."group"('u1', NULL);
SELECT cdp.alias('u1', NULL);
SELECT cdp.track('0', 'x');
SELECT cdp.define_trait('t', 'events.x.cuont_7d');
SELECT cdp.define_trait('t', 'count(');
SELECT cdp.define_trait('', '1');
SELECT cdp.define_trait('t', 't + 1');
SELECT cdp.define_namespace('acme', timezone => 'Mars/Base');
SET cdp.clock = 'yesterday';
SELECT cdp.now();
RESET cdp.clock;
-- Documents that are nested too deep, identifiers that are too long.
\set deep '(SELECT (repeat(\'{"not":\', 300) || \'{}\' || repeat(\'}\', 300))::jsonb)'
SELECT cdp.define_audience('deep', :deep);
SELECT cdp.define_score('deep', :deep);
SELECT cdp.define_flag('deep', definition => :deep);
SELECT cdp.define_experiment('deep', :deep);
SELECT cdp.define_destination('deep', 'webhook', :deep);
SELECT cdp.set_consent('u1', :deep);
SELECT cdp.decide('u1', 'deep', :deep);
SELECT cdp.suppress(repeat('x', 600));
SELECT cdp.unsuppress('x', repeat('k', 600));
