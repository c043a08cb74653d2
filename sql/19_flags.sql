-- Flags: defining and answering them.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE VIEW cdp.flags AS
    SELECT n.name AS namespace, f.key, f.rule, f.definition, f.description, f.created_at, f.updated_at
    FROM _cdp.flags AS f JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) f.namespace_id;
COMMENT ON VIEW cdp.flags IS 'Flags';

CREATE VIEW cdp.flag_overrides AS
    SELECT n.name AS namespace, f.key AS flag, o.profile_id, o.variant, o.set_at, o.set_by
    FROM _cdp.flag_overrides AS o
    JOIN _cdp.flags AS f ON f.flag_id OPERATOR(pg_catalog.=) o.flag_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) o.namespace_id;
COMMENT ON VIEW cdp.flag_overrides IS 'Variants given to people by hand, when and by whom';

CREATE VIEW cdp.holdouts AS
    SELECT n.name AS namespace, h.key, h.share::float8 OPERATOR(pg_catalog./) 10000 AS percent, h.description, h.created_at, h.updated_at
    FROM _cdp.holdouts AS h JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) h.namespace_id;
COMMENT ON VIEW cdp.holdouts IS 'People who are kept out of flags, in percent of all';

CREATE VIEW cdp.experiments AS
    SELECT n.name AS namespace, e.key, e.flag, e.definition, e.description, e.created_at, e.updated_at
    FROM _cdp.experiments AS e JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) e.namespace_id;
COMMENT ON VIEW cdp.experiments IS 'Experiments on flags';

GRANT SELECT ON cdp.flags, cdp.flag_overrides, cdp.holdouts, cdp.experiments TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.define_flag(
    key text,
    rule text DEFAULT NULL,
    definition jsonb DEFAULT NULL,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.flags
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_flag';
COMMENT ON FUNCTION cdp.define_flag(text, text, jsonb, text, text) IS 'Makes or changes a flag: a rule, or a definition with rules, variants and rollouts';
REVOKE ALL ON FUNCTION cdp.define_flag(text, text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_flag(text, text, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_flag(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_flag';
COMMENT ON FUNCTION cdp.drop_flag(text, text) IS 'Drops a flag; refused while something uses it';
REVOKE ALL ON FUNCTION cdp.drop_flag(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_flag(text, text) TO cdp_admin;

CREATE FUNCTION cdp.define_holdout(
    key text,
    percent double precision,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.holdouts
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_holdout';
COMMENT ON FUNCTION cdp.define_holdout(text, double precision, text, text) IS 'Makes or changes a holdout: a percentage of people whom the flags that name it leave alone';
REVOKE ALL ON FUNCTION cdp.define_holdout(text, double precision, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_holdout(text, double precision, text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_holdout(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_holdout';
COMMENT ON FUNCTION cdp.drop_holdout(text, text) IS 'Drops a holdout; refused while a flag names it';
REVOKE ALL ON FUNCTION cdp.drop_holdout(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_holdout(text, text) TO cdp_admin;

CREATE FUNCTION cdp.set_override(
    id text,
    flag text,
    variant text,
    namespace text DEFAULT NULL
) RETURNS cdp.flag_overrides
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_override';
COMMENT ON FUNCTION cdp.set_override(text, text, text, text) IS 'Gives a person a variant by hand, whatever the flag says';
REVOKE ALL ON FUNCTION cdp.set_override(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.set_override(text, text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.set_override(text, text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.clear_override(
    id text,
    flag text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_clear_override';
COMMENT ON FUNCTION cdp.clear_override(text, text, text) IS 'Takes back what a person was given by hand, for one flag or for all; returns how many';
REVOKE ALL ON FUNCTION cdp.clear_override(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.clear_override(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.clear_override(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.decide(
    id text,
    flag text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.decision
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_decide';
COMMENT ON FUNCTION cdp.decide(text, text, jsonb, text) IS 'Answers a flag for a person, with reasons';
REVOKE ALL ON FUNCTION cdp.decide(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.decide(text, text, jsonb, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.decide(text, text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.decide(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.decide_all(
    id text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS TABLE (flag text, allow boolean, variant text, value jsonb, reason text, reasons text[])
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_decide_all';
COMMENT ON FUNCTION cdp.decide_all(text, jsonb, text) IS 'Answers all flags for a person, for a client that starts';
REVOKE ALL ON FUNCTION cdp.decide_all(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.decide_all(text, jsonb, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.decide_all(text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.decide_all(text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.explain_decision(
    id text,
    flag text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS TABLE (depth integer, expression text, value jsonb, changes_at timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_decision';
COMMENT ON FUNCTION cdp.explain_decision(text, text, jsonb, text) IS 'The way to an answer, step by step, each condition as a tree with the value of every node, and when time changes it next';
REVOKE ALL ON FUNCTION cdp.explain_decision(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_decision(text, text, jsonb, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.explain_decision(text, text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.explain_decision(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.expose(
    id text,
    flag text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.decision
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_expose';
COMMENT ON FUNCTION cdp.expose(text, text, jsonb, text) IS 'Answers a flag for a person and records that the person sees it, once per variant and period';
REVOKE ALL ON FUNCTION cdp.expose(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.expose(text, text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.expose(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.define_experiment(
    key text,
    definition jsonb,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.experiments
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_experiment';
COMMENT ON FUNCTION cdp.define_experiment(text, jsonb, text, text) IS 'Makes or changes an experiment: a flag, the variants to compare, and what is measured';
REVOKE ALL ON FUNCTION cdp.define_experiment(text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_experiment(text, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_experiment(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_experiment';
COMMENT ON FUNCTION cdp.drop_experiment(text, text) IS 'Drops an experiment; its exposures stay, they are events';
REVOKE ALL ON FUNCTION cdp.drop_experiment(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_experiment(text, text) TO cdp_admin;

CREATE FUNCTION cdp.experiment_report(
    key text,
    namespace text DEFAULT NULL
) RETURNS TABLE (metric text, role text, variant text, exposures bigint, people bigint, mean double precision, adjusted_mean double precision,
    difference double precision, difference_low double precision, difference_high double precision,
    lift double precision, lift_low double precision, lift_high double precision, p_value double precision,
    sequential_p_value double precision, sequential_low double precision, sequential_high double precision,
    sample_ratio_p_value double precision, mixed bigint, verdict text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_experiment_report';
COMMENT ON FUNCTION cdp.experiment_report(text, text) IS 'What an experiment says so far: each metric of each variant, compared with the control';
REVOKE ALL ON FUNCTION cdp.experiment_report(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.experiment_report(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.experiment_report(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.experiment_report(text, text) TO cdp_admin;
