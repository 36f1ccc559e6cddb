//! The simulated card provider. It stands in for an external company: it has its own state and its own idempotency per
//! payment id, and test tokens make it decline, fail or not answer.

use localmart_guest::kernel::Id;
use localmart_guest::sql::{Connection, Database, SqlError, Stored as _, transaction};
use localmart_guest::{columns, params};

/// How many calls with `tok_flaky` fail before one succeeds.
const FLAKY_FAILURES: i64 = 2;

/// The provider's answer to an authorisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The amount is authorised.
    Authorized,
    /// The card was refused, with a text for the shopper.
    Refused(&'static str),
    /// The provider had an internal error. Retryable.
    Failed,
    /// There is no answer: the call times out.
    Timeout,
}

columns! {
    /// A charge, as the provider stores it.
    pub(crate) struct Charge in "provider_charges" {
        token: String,
        attempts: i64,
        status: String,
        amount: u64,
        captured: u64,
        refunded: u64,
    }
}

/// The simulated provider.
#[derive(Clone)]
pub(crate) struct Provider<D> {
    database: D,
}

impl<D: Database> Provider<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database }
    }

    /// Authorises an amount. Once the provider has decided, repeating the call with the same payment id changes nothing.
    pub(crate) async fn authorize(
        &self,
        payment: &Id,
        amount: u64,
        token: &str,
    ) -> Result<Answer, SqlError> {
        transaction(&self.database, async |connection| {
            // Written before it is read, so that concurrent calls are serialised.
            let sql = "INSERT INTO provider_charges (payment_id, token, attempts, status, amount, captured, refunded) VALUES \
                       ($1, $2, 0, 'new', $3, 0, 0) ON CONFLICT DO NOTHING";
            connection.queue(sql, params![payment, token, amount]).await?;
            let sql = "UPDATE provider_charges SET attempts = attempts + 1 WHERE payment_id = $1 RETURNING attempts, status";
            let rows = connection.query(sql, params![payment]).await?;
            let row = rows.first().ok_or_else(|| SqlError::Failed("the charge is missing".to_owned()))?;
            let (attempts, known): (i64, String) = (row.get("attempts")?, row.get("status")?);
            match known.as_str() {
                "held" | "captured" if token != "tok_timeout" => return Ok(Answer::Authorized),
                "void" => return Ok(Answer::Refused("The payment was cancelled.")),
                _ => {}
            }
            let (status, answer) = match token {
                "tok_visa" => ("held", Answer::Authorized),
                "tok_flaky" if attempts <= FLAKY_FAILURES => ("broken", Answer::Failed),
                "tok_flaky" => ("held", Answer::Authorized),
                // The amount is authorised, but the answer is lost.
                "tok_timeout" => ("held", Answer::Timeout),
                "tok_insufficient_funds" => ("refused", Answer::Refused("The card has insufficient funds.")),
                _ => ("refused", Answer::Refused("The card was declined.")),
            };
            let sql = "UPDATE provider_charges SET status = $2 WHERE payment_id = $1";
            connection.queue(sql, params![payment, status]).await?;
            Ok(answer)
        })
        .await
    }

    /// Captures the authorised amount; returns the captured amount. A second call changes nothing.
    pub(crate) async fn capture(&self, payment: &Id) -> Result<u64, SqlError> {
        let sql = "UPDATE provider_charges SET status = 'captured', captured = amount \
                   WHERE payment_id = $1 AND status = 'held' RETURNING captured";
        let connection = self.database.open().await?;
        if let Some(row) = connection.query(sql, params![payment]).await?.first() {
            return row.get("captured");
        }
        let charge = read(&connection, payment).await?;
        Ok(charge.map_or(0, |charge| charge.captured))
    }

    /// Voids an authorisation, whether its answer arrived or not. A captured charge is not changed.
    pub(crate) async fn void(&self, payment: &Id, amount: u64) -> Result<(), SqlError> {
        let sql = "INSERT INTO provider_charges (payment_id, token, attempts, status, amount, captured, refunded) VALUES \
                   ($1, '', 0, 'void', $2, 0, 0) \
                   ON CONFLICT (payment_id) DO UPDATE SET status = 'void' WHERE provider_charges.status <> 'captured'";
        self.database
            .open()
            .await?
            .execute(sql, params![payment, amount])
            .await
            .map(drop)
    }

    /// Refunds until the refunds add up to `total`, but never more than was captured.
    pub(crate) async fn refund_up_to(&self, payment: &Id, total: u64) -> Result<(), SqlError> {
        let sql = "UPDATE provider_charges SET refunded = $2 WHERE payment_id = $1 \
                   AND refunded < $2 AND captured >= $2";
        self.database
            .open()
            .await?
            .execute(sql, params![payment, total])
            .await
            .map(drop)
    }

    /// The charge of a payment, for reconciliation.
    pub(crate) async fn charge(&self, payment: &Id) -> Result<Option<Charge>, SqlError> {
        read(&self.database.open().await?, payment).await
    }
}

async fn read(connection: &impl Connection, payment: &Id) -> Result<Option<Charge>, SqlError> {
    let sql = Charge::select("WHERE payment_id = $1");
    let rows = connection.query(&sql, params![payment]).await?;
    rows.first().map(Charge::of_row).transpose()
}
