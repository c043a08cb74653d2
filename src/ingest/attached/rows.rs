//! What triggers of attached tables do: the statement that fired them goes through, whatever its rows are like,
//! unless `cdp.attach_raises` is set.

use super::template::{messages, Template};
use crate::error::{internal, state, Error, Result};
use crate::guc;
use crate::ingest::quarantine::{self, Reason, Rejected};
use crate::ingest::Strictness;
use crate::namespaces::{self, Namespace};
use crate::pg::function::{Call, StatementTrigger};
use crate::pg::spi::Spi;
use crate::pg::{clock, sandbox, transaction};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Insert,
    Update,
}

/// Sends the rows of the statement that fired a trigger through the pipeline.
pub fn take(call: &Call, change: Change) -> Result<()> {
    let trigger = call.statement_trigger()?;
    let attachment_id =
        trigger.argument.parse().map_err(|_| internal(format!("attachment \"{}\"", trigger.argument)))?;
    Spi::connect(false, |spi| {
        let Some(template) = Template::read(spi, trigger.relation, attachment_id)? else { return Ok(()) };
        let namespace = namespaces::by_id(spi, template.namespace_id)?;
        spi.see_transition_tables(call)?;
        let statement = Statement { spi, trigger: &trigger, template: &template, namespace: &namespace, change };
        if guc::attach_raises() {
            let messages = statement.messages(0, usize::MAX)?;
            return super::ingest(spi, &namespace, &messages, Strictness::Raise, clock::now()?);
        }
        let messages = statement.messages_or_quarantine()?;
        statement.ingest_or_quarantine(&messages)
    })
}

struct Statement<'a> {
    spi: &'a Spi,
    trigger: &'a StatementTrigger,
    template: &'a Template,
    namespace: &'a Namespace,
    change: Change,
}

impl Statement<'_> {
    /// The messages of some of the rows.
    fn messages(&self, first: usize, count: usize) -> Result<Vec<String>> {
        let sql = match self.change {
            Change::Insert => self.template.inserted(first, count),
            Change::Update => self.template.updated(first, count),
        };
        let is_whole = (first, count) == (0, usize::MAX);
        sandbox::as_role_with_id(self.trigger.owner, || match is_whole {
            true => messages(self.spi.query_transition(self.trigger.relation, &sql)?),
            false => messages(self.spi.query_text(&sql, &[])?),
        })
    }

    /// The messages of all rows but those for which the attachment's SQL fails.
    fn messages_or_quarantine(&self) -> Result<Vec<String>> {
        let error = match self.messages(0, usize::MAX) {
            Ok(messages) => return Ok(messages),
            Err(error) => forgivable(error)?,
        };
        let count = self
            .spi
            .query_text("SELECT pg_catalog.count(*) FROM cdp_new_rows", &[])?
            .first(|row| row.i64(0))?
            .unwrap_or(0);
        let mut good = Vec::new();
        // Halves that fail are halved again, down to the rows that are to blame.
        let mut parts = vec![(0, usize::try_from(count).unwrap_or(0), error)];
        while let Some((first, count, error)) = parts.pop() {
            if count <= 1 {
                self.quarantine_row(first, &error)?;
                continue;
            }
            let half = count / 2;
            for (first, count) in [(first, half), (first + half, count - half)] {
                match self.messages(first, count) {
                    Ok(messages) => good.extend(messages),
                    Err(error) => parts.push((first, count, forgivable(error)?)),
                }
            }
        }
        Ok(good)
    }

    fn quarantine_row(&self, place: usize, error: &Error) -> Result<()> {
        let original = self.spi.query_text(&Template::row(place), &[])?.first(|row| row.text(0))?;
        let reason = Reason {
            code: "attached_row",
            sqlstate: state::ATTACHED_ROW,
            field: String::new(),
            value: String::new(),
            message: format!("a row of {} makes no message: {}", self.template.table(), error.message),
            hint: "Attach the table again with SQL that suits all rows, and backfill => true to take this row.",
        };
        self.quarantine(&[Rejected { reason, original: original.unwrap_or_default() }])
    }

    fn quarantine(&self, rejected: &[Rejected]) -> Result<()> {
        quarantine::store(self.spi, self.namespace.id, clock::now()?, &rejected.iter().collect::<Vec<_>>())
    }

    fn ingest_or_quarantine(&self, messages: &[String]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let now = clock::now()?;
        let taken =
            transaction::attempt(|| super::ingest(self.spi, self.namespace, messages, Strictness::Quarantine, now));
        let Err(error) = taken else { return Ok(()) };
        let error = forgivable(error)?;
        let rejected: Vec<Rejected> = messages
            .iter()
            .map(|original| Rejected {
                reason: Reason {
                    code: "attached_row",
                    sqlstate: state::ATTACHED_ROW,
                    field: String::new(),
                    value: String::new(),
                    message: format!("the message of a row of {} failed: {}", self.template.table(), error.message),
                    hint: "cdp.requeue_quarantine() takes it again.",
                },
                original: original.clone(),
            })
            .collect();
        self.quarantine(&rejected)
    }
}

/// An error that must not stop the application's statement; those that end it anyway, or tell the application to
/// try the transaction again, come back as errors.
fn forgivable(error: Error) -> Result<Error> {
    const FINAL: [&[u8]; 4] = [b"40", b"53", b"57", b"58"];
    match FINAL.iter().any(|class| error.sqlstate.starts_with(class)) {
        true => Err(error),
        false => Ok(error),
    }
}
