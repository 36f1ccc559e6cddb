//! The simulated card provider. It stands for a company outside: it has its own memory, its own idempotency under the
//! payment's id, and it can be slow, flaky or silent, as its tokens ask.

use localmart_guest::kernel::Id;
use localmart_guest::params;
use localmart_guest::sql::{Connection, Database, Row, SqlError, transaction};

/// Calls to `tok_flaky` that fail before one works.
const FLAKY_FAILURES: i64 = 2;

/// What the provider says to an authorisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The money is held.
    Held,
    /// Refused, in words for the shopper.
    Refused(&'static str),
    /// Its machine failed; try again.
    Broken,
    /// It will not answer.
    Silent,
}

/// What the provider remembers of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) token: String,
    pub(crate) attempts: i64,
    pub(crate) status: String,
    pub(crate) amount: u64,
    pub(crate) captured: u64,
    pub(crate) refunded: u64,
}

/// The provider's machine.
#[derive(Clone)]
pub(crate) struct Provider<D> {
    database: D,
}

impl<D: Database> Provider<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database }
    }

    /// Asks for money to be held. Repeating it with the same payment id changes nothing once it was decided.
    pub(crate) async fn authorize(
        &self,
        payment: &Id,
        amount: u64,
        token: &str,
    ) -> Result<Answer, SqlError> {
        transaction(&self.database, async |connection| {
            // Written before it is read, so that two who ask at once take turns.
            let sql = "INSERT INTO provider_charges (payment_id, token, attempts, status, amount, captured, refunded) VALUES \
                       (CAST($1 AS TEXT), CAST($2 AS TEXT), 0, 'new', CAST($3 AS BIGINT), 0, 0) ON CONFLICT DO NOTHING";
            connection.queue(sql, params![payment, token, amount]).await?;
            let sql = "UPDATE provider_charges SET attempts = attempts + 1 WHERE payment_id = CAST($1 AS TEXT) RETURNING attempts, status";
            let rows = connection.query(sql, params![payment]).await?;
            let row = rows.first().ok_or_else(|| SqlError::Failed("a charge vanished".to_owned()))?;
            let (attempts, known) = (row.integer(0)?, row.text(1)?);
            match known.as_str() {
                "held" | "captured" if token != "tok_timeout" => return Ok(Answer::Held),
                "void" => return Ok(Answer::Refused("The payment was cancelled.")),
                _ => {}
            }
            let (status, answer) = match token {
                "tok_visa" => ("held", Answer::Held),
                "tok_flaky" if attempts <= FLAKY_FAILURES => ("broken", Answer::Broken),
                "tok_flaky" => ("held", Answer::Held),
                // It holds the money, but nobody hears of it.
                "tok_timeout" => ("held", Answer::Silent),
                "tok_insufficient_funds" => ("refused", Answer::Refused("The card has insufficient funds.")),
                _ => ("refused", Answer::Refused("The card was declined.")),
            };
            let sql = "UPDATE provider_charges SET status = CAST($2 AS TEXT) WHERE payment_id = CAST($1 AS TEXT)";
            connection.queue(sql, params![payment, status]).await?;
            Ok(answer)
        })
        .await
    }

    /// Takes what is held; returns what was taken. Nothing happens the second time.
    pub(crate) async fn capture(&self, payment: &Id) -> Result<u64, SqlError> {
        let sql = "UPDATE provider_charges SET status = 'captured', captured = amount \
                   WHERE payment_id = CAST($1 AS TEXT) AND status = 'held' RETURNING captured";
        let connection = self.database.open().await?;
        if let Some(row) = connection.query(sql, params![payment]).await?.first() {
            return row.unsigned(0);
        }
        let charge = read(&connection, payment).await?;
        Ok(charge.map_or(0, |charge| charge.captured))
    }

    /// Drops a hold, whether it was answered or not; what was captured stays.
    pub(crate) async fn void(&self, payment: &Id, amount: u64) -> Result<(), SqlError> {
        let sql = "INSERT INTO provider_charges (payment_id, token, attempts, status, amount, captured, refunded) VALUES \
                   (CAST($1 AS TEXT), '', 0, 'void', CAST($2 AS BIGINT), 0, 0) \
                   ON CONFLICT (payment_id) DO UPDATE SET status = 'void' WHERE provider_charges.status <> 'captured'";
        self.database
            .open()
            .await?
            .execute(sql, params![payment, amount])
            .await
            .map(drop)
    }

    /// Gives back until so much was given back in all; never more than was taken.
    pub(crate) async fn refund_up_to(&self, payment: &Id, total: u64) -> Result<(), SqlError> {
        let sql = "UPDATE provider_charges SET refunded = CAST($2 AS BIGINT) WHERE payment_id = CAST($1 AS TEXT) \
                   AND refunded < CAST($2 AS BIGINT) AND captured >= CAST($2 AS BIGINT)";
        self.database
            .open()
            .await?
            .execute(sql, params![payment, total])
            .await
            .map(drop)
    }

    /// What became of a charge, for reconciliation.
    pub(crate) async fn charge(&self, payment: &Id) -> Result<Option<Charge>, SqlError> {
        read(&self.database.open().await?, payment).await
    }
}

async fn read(connection: &impl Connection, payment: &Id) -> Result<Option<Charge>, SqlError> {
    let sql = "SELECT token, attempts, status, amount, captured, refunded FROM provider_charges WHERE payment_id = CAST($1 AS TEXT)";
    let charge = |row: &Row| {
        Ok(Charge {
            token: row.text(0)?,
            attempts: row.integer(1)?,
            status: row.text(2)?,
            amount: row.unsigned(3)?,
            captured: row.unsigned(4)?,
            refunded: row.unsigned(5)?,
        })
    };
    connection
        .query(sql, params![payment])
        .await?
        .first()
        .map(charge)
        .transpose()
}
