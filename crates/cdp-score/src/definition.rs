//! A definition: JSON in, a validated model out.

use crate::grades::Grades;
use crate::interval::Interval;
use crate::members::{cut, name, text, Members, ScoreError};
use cdp_expr::{Aggregate, Catalog, EventSource, Expr, ExprError, Kind, Position};
use cdp_value::{AggregateFunction, Decimal, Period, Value, Window};
use serde_json::Value as Json;

/// Most rules of one score.
const MOST_RULES: usize = 200;
/// Most entries of one table: ranges, values, traits.
const MOST_ENTRIES: usize = 1_000;

/// A score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    pub description: Option<String>,
    /// Most points that all attributes together give; None for no limit.
    pub icp_cap: Option<Decimal>,
    /// Who somebody is.
    pub attributes: Vec<Attribute>,
    /// Most points that all activities together give; None for no limit.
    pub behavior_cap: Option<Decimal>,
    /// What somebody does.
    pub activities: Vec<Activity>,
    pub grades: Grades,
    pub announcements: Announcements,
}

/// Which changes are announced to routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcements {
    /// `Score Changed`: when the total is another one by at least so much; None for never.
    pub score_by: Option<Decimal>,
    /// `Grade Changed`.
    pub grade: bool,
}

/// An ICP rule: points by the value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    /// Where the value may be: the first one that can be read counts.
    pub sources: Vec<Source>,
    /// All sources in words.
    pub label: String,
    pub tests: Tests,
}

/// One place where an attribute may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The trait's name, or the text of the expression.
    pub label: String,
    pub expr: Expr,
    /// Where the expression stands in the definition; None for a trait's name.
    path: Option<String>,
}

/// The table of an ICP rule. The first entry that fits gives the points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tests {
    /// Ranges that do not overlap.
    Ranges(Vec<(Interval, Decimal)>),
    /// Values, compared without regard to case and separators.
    Values(Vec<(Vec<Value>, Decimal)>),
}

/// A behaviour rule: points per event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    pub name: String,
    pub points: Decimal,
    /// Most points of this rule.
    pub cap: Option<Decimal>,
    /// How many events count, weighted by their age where the rule decays.
    pub expr: Expr,
    /// The expression in words.
    pub label: String,
    path: String,
    has_filter: bool,
}

impl Score {
    /// Reads a definition.
    ///
    /// Errors name the place as a JSON pointer. Expressions are parsed but not resolved: see
    /// [`Score::resolve`].
    pub fn parse(json: &Json) -> Result<Score, ScoreError> {
        let members = Members::of(
            json,
            "",
            &["description", "icp", "behavior", "grades", "changes"],
        )?;
        let (icp_cap, attributes) = component(&members, "icp", Attribute::read)?;
        let (behavior_cap, activities) = component(&members, "behavior", Activity::read)?;
        if attributes.is_empty() && activities.is_empty() {
            return Err(ScoreError::new("", "a score needs a rule").hint(
                "For example: {\"behavior\": {\"rules\": [{\"event\": \"Email Opened\", \"points\": 5}]}}.",
            ));
        }
        if attributes.len() + activities.len() > MOST_RULES {
            return Err(ScoreError::new(
                "",
                format!("a score has at most {MOST_RULES} rules"),
            ));
        }
        unique(
            attributes.iter().map(|rule| rule.name.as_str()),
            "/icp/rules",
        )?;
        unique(
            activities.iter().map(|rule| rule.name.as_str()),
            "/behavior/rules",
        )?;
        let grades = if members.has("grades") {
            Grades::read(members.items("grades")?, "/grades")?
        } else {
            Grades::default()
        };
        Ok(Score {
            description: members.text("description")?.map(str::to_string),
            icp_cap,
            attributes,
            behavior_cap,
            activities,
            grades,
            announcements: Announcements::read(&members)?,
        })
    }

    /// Whether two definitions always give the same points, grades and announcements.
    pub fn scores_alike(&self, other: &Score) -> bool {
        let mut words = other.clone();
        words.description.clone_from(&self.description);
        *self == words
    }

    /// What the score reads of a person, in the order in which [`Score::evaluate`] takes the
    /// values: the sources of all attributes, then the activities.
    pub fn inputs(&self) -> impl Iterator<Item = &Expr> {
        let sources = self.attributes.iter().flat_map(|rule| &rule.sources);
        let activities = self.activities.iter().map(|rule| &rule.expr);
        sources.map(|source| &source.expr).chain(activities)
    }

    /// Gives every name in the expressions its meaning, and refuses cycles back to the score
    /// `key`. Returns what is allowed but probably not meant, with its place.
    pub fn resolve(&mut self, key: &str, catalog: &dyn Catalog) -> Result<Vec<String>, ScoreError> {
        let mut warnings = Vec::new();
        let sources = self
            .attributes
            .iter_mut()
            .flat_map(|rule| &mut rule.sources);
        let sources = sources.filter_map(|source| Some((&mut source.expr, source.path.clone()?)));
        let activities = self.activities.iter_mut().map(|rule| {
            let member = if rule.has_filter { "filter" } else { "event" };
            (&mut rule.expr, format!("{}/{member}", rule.path))
        });
        for (expr, path) in sources.chain(activities) {
            let checked = cdp_expr::resolve(expr, Kind::Score, Some(key), catalog)
                .map_err(|error| refused(&path, error))?;
            for warning in checked.warnings {
                // A rule's filter may have warnings of its own; the event is beside it.
                let event = path
                    .strip_suffix("/filter")
                    .filter(|_| warning.starts_with("no event"));
                let place = event.map_or_else(|| path.clone(), |rule| format!("{rule}/event"));
                warnings.push(format!("{place}: {warning}"));
            }
            *expr = checked.expr;
        }
        for rule in &mut self.activities {
            rule.label = cdp_expr::print(&rule.expr);
        }
        Ok(warnings)
    }

    /// The definition to store: as it was given, with the expressions as they were resolved.
    pub fn stored(&self, given: &Json) -> Json {
        let mut stored = given.clone();
        let mut set = |path: &str, text: String| {
            if let Some(place) = stored.pointer_mut(path) {
                *place = Json::String(text);
            }
        };
        for source in self.attributes.iter().flat_map(|rule| &rule.sources) {
            if let Some(path) = &source.path {
                set(path, cdp_expr::print(&source.expr));
            }
        }
        for rule in &self.activities {
            if let Expr::Aggregate(Aggregate { source, .. }) = &rule.expr {
                if let Some(filter) = &source.filter {
                    set(&format!("{}/filter", rule.path), cdp_expr::print(filter));
                }
            }
        }
        stored
    }
}

impl Activity {
    /// The event and the condition that it counts.
    pub fn source(&self) -> Option<&EventSource> {
        match &self.expr {
            Expr::Aggregate(aggregate) => Some(&aggregate.source),
            _ => None,
        }
    }

    fn read(json: &Json, path: &str) -> Result<Activity, ScoreError> {
        let members = Members::of(
            json,
            path,
            &[
                "name", "event", "points", "filter", "window", "limit", "decay", "cap",
            ],
        )?;
        let event = members.get("event").ok_or_else(|| {
            ScoreError::new(path, "a behaviour rule needs an event")
                .hint("For example {\"event\": \"Email Opened\", \"points\": 5}.")
        })?;
        let event = name(event, &members.path("event"))?.to_string();
        let given = members.get("name");
        let given = given
            .map(|json| name(json, &members.path("name")))
            .transpose()?;
        let filter = members.text("filter")?;
        let filter = filter
            .map(|text| filter_of(text, &members.path("filter")))
            .transpose()?;
        let window = duration(&members, "window")?.map(|length| Window { length });
        let function = counting(&members, window)?;
        let has_filter = filter.is_some();
        let source = EventSource {
            event: event.clone(),
            filter: filter.map(Box::new),
        };
        let expr = Expr::Aggregate(Aggregate {
            source,
            function,
            property: None,
            window,
            position: Position::default(),
        });
        Ok(Activity {
            name: given.map_or(event, str::to_string),
            points: members.points()?,
            cap: members.cap()?,
            label: cdp_expr::print(&expr),
            expr,
            path: path.to_string(),
            has_filter,
        })
    }
}

/// Which events count how much.
fn counting(
    members: &Members<'_>,
    window: Option<Window>,
) -> Result<AggregateFunction, ScoreError> {
    let limit = limit(members)?;
    let decay = decay(members)?;
    if window.is_some() && (limit.is_some() || decay.is_some()) {
        return Err(members
            .error("window", "a rule with a limit or a decay takes no window")
            .hint("A decay takes the place of a window: an event counts less as it gets older."));
    }
    Ok(match (limit, decay) {
        (None, None) => AggregateFunction::Count,
        (Some((most, period)), None) => AggregateFunction::LimitedCount { most, period },
        (limit, Some((half_life, step))) => {
            if let (Some((_, period)), Some(step)) = (limit, step) {
                if period != step {
                    return Err(members
                        .error("decay", "the step is not the period of the limit")
                        .hint("Leave the step out: with a limit, events age by its periods."));
                }
            }
            let period = limit
                .map(|(_, period)| period)
                .or(step)
                .unwrap_or(Period::default_step(half_life));
            AggregateFunction::DecayedCount {
                half_life,
                step: period,
                most: limit.map(|(most, _)| most),
            }
        }
    })
}

fn limit(members: &Members<'_>) -> Result<Option<(u32, Period)>, ScoreError> {
    let Some(json) = members.get("limit") else {
        return Ok(None);
    };
    let limit = Members::of(json, &members.path("limit"), &["count", "per"])?;
    let count = limit.number("count")?.and_then(|count| count.to_i64());
    let count = count.and_then(|count| u32::try_from(count).ok());
    let Some(count) = count.filter(|count| (1..=1_000_000).contains(count)) else {
        return Err(limit
            .error("count", "a limit is a whole number from 1 to 1000000")
            .hint("At most three events a day: {\"count\": 3, \"per\": \"day\"}."));
    };
    Ok(Some((
        count,
        period(&limit, "per")?.ok_or_else(|| {
            ScoreError::new(limit.path.clone(), "a limit needs its period")
                .hint("per is hour, day or week.")
        })?,
    )))
}

fn decay(members: &Members<'_>) -> Result<Option<(i64, Option<Period>)>, ScoreError> {
    let Some(json) = members.get("decay") else {
        return Ok(None);
    };
    let decay = Members::of(json, &members.path("decay"), &["half_life", "step"])?;
    let half_life = duration(&decay, "half_life")?.ok_or_else(|| {
        ScoreError::new(decay.path.clone(), "a decay needs a half_life")
            .hint("For example {\"half_life\": \"14d\"}.")
    })?;
    let step = period(&decay, "step")?;
    let shortest = step.unwrap_or(Period::Hour).length();
    if half_life < shortest {
        return Err(decay
            .error("half_life", "the half-life is shorter than a step")
            .hint("The shortest half-life is 1h."));
    }
    Ok(Some((half_life, step)))
}

fn period(members: &Members<'_>, member: &str) -> Result<Option<Period>, ScoreError> {
    members
        .text(member)?
        .map(|text| {
            Period::parse(text).ok_or_else(|| {
                members
                    .error(member, format!("\"{}\" is no period", cut(text)))
                    .hint("A period is hour, day or week.")
            })
        })
        .transpose()
}

fn duration(members: &Members<'_>, member: &str) -> Result<Option<i64>, ScoreError> {
    let Some(text) = members.text(member)? else {
        return Ok(None);
    };
    match cdp_expr::parse(text.trim()) {
        Ok(Expr::Duration(length))
            if length >= cdp_value::MINUTE && length % cdp_value::MINUTE == 0 =>
        {
            Ok(Some(length))
        }
        _ => Err(members
            .error(member, format!("\"{}\" is no duration", cut(text)))
            .hint("Durations are whole minutes, hours, days or weeks: 30m, 12h, 7d, 2w.")),
    }
}

/// A condition on the properties of an event.
fn filter_of(text: &str, path: &str) -> Result<Expr, ScoreError> {
    let parsed = cdp_expr::parse(text).map_err(|error| refused(path, error))?;
    // Read once more where it will stand, so that words mean there what they mean in any filter.
    let inside = cdp_expr::parse(&format!("events.e[{text}].count"));
    match inside {
        Ok(Expr::Aggregate(Aggregate { source, .. })) => {
            Ok(source.filter.map_or(parsed, |filter| *filter))
        }
        Ok(_) => Err(ScoreError::new(path, "this is not one condition")),
        Err(error) => Err(refused(path, error)),
    }
}

impl Attribute {
    fn read(json: &Json, path: &str) -> Result<Attribute, ScoreError> {
        let members = Members::of(
            json,
            path,
            &["name", "traits", "expression", "ranges", "values"],
        )?;
        let mut sources = Vec::new();
        for (place, item) in members.items("traits")? {
            let label = name(item, &place)?;
            let parts = label.split('.').map(str::to_string).collect();
            sources.push(Source {
                label: label.to_string(),
                expr: Expr::Profile(parts),
                path: None,
            });
        }
        if let Some(text) = members.text("expression")? {
            let path = members.path("expression");
            let expr = cdp_expr::parse(text).map_err(|error| refused(&path, error))?;
            sources.push(Source {
                label: text.to_string(),
                expr,
                path: Some(path),
            });
        }
        let Some(first) = sources.first() else {
            return Err(
                ScoreError::new(path, "an ICP rule needs traits or an expression")
                    .hint("For example \"traits\": [\"employee_count\"]."),
            );
        };
        let given = members.get("name");
        let given = given
            .map(|json| name(json, &members.path("name")))
            .transpose()?;
        let tests = match (members.has("ranges"), members.has("values")) {
            (true, false) => ranges(members.items("ranges")?)?,
            (false, true) => values(members.items("values")?)?,
            (true, true) => {
                return Err(members.error("values", "a rule has ranges or values, not both"))
            }
            (false, false) => {
                return Err(ScoreError::new(path, "an ICP rule needs ranges or values")
                    .hint("For example \"ranges\": [{\"from\": 11, \"to\": 50, \"points\": 30}]."))
            }
        };
        let labels: Vec<&str> = sources.iter().map(|source| source.label.as_str()).collect();
        Ok(Attribute {
            name: given.map_or_else(|| first.label.clone(), str::to_string),
            label: labels.join(", "),
            sources,
            tests,
        })
    }
}

fn ranges(items: Vec<(String, &Json)>) -> Result<Tests, ScoreError> {
    let mut ranges: Vec<(Interval, Decimal)> = Vec::new();
    for (path, item) in checked(items)? {
        let members = Members::of(item, &path, &["from", "above", "to", "below", "points"])?;
        let interval = Interval::read(&members)?;
        if let Some(index) = ranges
            .iter()
            .position(|(other, _)| other.overlaps(&interval))
        {
            return Err(ScoreError::new(
                path,
                format!("this range overlaps range {index} before it"),
            )
            .hint("Where two ranges meet, let one of them begin with above or end with below."));
        }
        ranges.push((interval, members.points()?));
    }
    Ok(Tests::Ranges(ranges))
}

fn values(items: Vec<(String, &Json)>) -> Result<Tests, ScoreError> {
    let mut values: Vec<(Vec<Value>, Decimal)> = Vec::new();
    for (path, item) in checked(items)? {
        let members = Members::of(item, &path, &["equals", "any_of", "points"])?;
        let mut set = Vec::new();
        let any_of = members.items("any_of")?;
        let equals = members
            .get("equals")
            .map(|json| (members.path("equals"), json));
        for (place, json) in any_of.into_iter().chain(equals) {
            let value = folded(&match json {
                Json::String(_) => Value::Text(text(json, &place)?.to_string()),
                Json::Number(_) | Json::Bool(_) => Value::from_json(json),
                _ => {
                    return Err(ScoreError::new(
                        place,
                        "a value is a text, a number, true or false",
                    ))
                }
            });
            let known = values.iter().any(|(set, _)| set.contains(&value));
            if known || set.contains(&value) {
                return Err(ScoreError::new(
                    place,
                    format!("{} is there twice", cut(&json.to_string())),
                ));
            }
            set.push(value);
        }
        if set.is_empty() {
            return Err(ScoreError::new(path, "an entry needs equals or any_of")
                .hint("For example {\"any_of\": [\"Series A\"], \"points\": 15}."));
        }
        values.push((set, members.points()?));
    }
    Ok(Tests::Values(values))
}

fn checked<T>(items: Vec<T>) -> Result<Vec<T>, ScoreError> {
    if items.len() > MOST_ENTRIES {
        return Err(ScoreError::new(
            "",
            format!("a rule has at most {MOST_ENTRIES} entries"),
        ));
    }
    Ok(items)
}

/// A value as it is compared: a text in lower case, with one space for any run of spaces, hyphens
/// and underscores.
pub(crate) fn folded(value: &Value) -> Value {
    match value {
        Value::Text(text) => {
            let lower = text.to_lowercase();
            let words = lower.split(|c: char| c.is_whitespace() || matches!(c, '_' | '-'));
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            Value::Text(words.join(" "))
        }
        other => other.clone(),
    }
}

impl Announcements {
    fn read(members: &Members<'_>) -> Result<Announcements, ScoreError> {
        let every = Some(Decimal::zero());
        let Some(json) = members.get("changes") else {
            return Ok(Announcements {
                score_by: every,
                grade: true,
            });
        };
        let changes = Members::of(json, "/changes", &["score", "grade"])?;
        let score_by = match changes.get("score") {
            None | Some(Json::Bool(true)) => every,
            Some(Json::Bool(false)) => None,
            Some(_) => {
                let by = changes.number("score")?;
                if by.as_ref().is_some_and(Decimal::is_negative) {
                    return Err(changes.error("score", "the least change cannot be negative"));
                }
                by
            }
        };
        let grade = match changes.get("grade") {
            None => true,
            Some(Json::Bool(grade)) => *grade,
            Some(_) => return Err(changes.error("grade", "this is true or false")),
        };
        Ok(Announcements { score_by, grade })
    }
}

/// The cap and the rules of one half of a score.
fn component<T>(
    score: &Members<'_>,
    member: &str,
    read: impl Fn(&Json, &str) -> Result<T, ScoreError>,
) -> Result<(Option<Decimal>, Vec<T>), ScoreError> {
    let Some(json) = score.get(member) else {
        return Ok((None, Vec::new()));
    };
    let members = Members::of(json, &score.path(member), &["cap", "rules"])?;
    let rules = members.items("rules")?.into_iter();
    let rules = rules.map(|(path, item)| read(item, &path));
    Ok((members.cap()?, rules.collect::<Result<_, _>>()?))
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, path: &str) -> Result<(), ScoreError> {
    let mut known = Vec::new();
    for (index, name) in names.enumerate() {
        if known.contains(&name) {
            return Err(ScoreError::new(
                format!("{path}/{index}"),
                format!("there are two rules named \"{}\"", cut(name)),
            )
            .hint("Give one of them another \"name\"."));
        }
        known.push(name);
    }
    Ok(())
}

fn refused(path: &str, error: ExprError) -> ScoreError {
    let mut message = error.message;
    if error.position > 1 {
        message.push_str(&format!(" (character {})", error.position));
    }
    if !error.expected.is_empty() {
        message.push_str(&format!(", expected {}", error.expected.join(", ")));
    }
    ScoreError {
        path: path.to_string(),
        message,
        hint: Some(error.hint),
    }
}
