//! The bus on Redis Streams: one stream per channel, one Redis consumer group per group. A hash beside the pending entries
//! of a group counts failures. Every step that must be atomic is one script in `scripts.rs`.

use super::scripts::{ACKNOWLEDGE, CLAIM, DEAD, HISTORY, LAG, LOCK, PUBLISH, REPLAY, TRIM, UNLOCK};
use super::{Bus, BusError, DeadLetter, Delivery, Lag, Outgoing};
use crate::redis::{Argument, Redis, Reply};
use localmart_kernel::Timestamp;
use serde_json::{Value, json};

const PREFIX: &str = "localmart:bus:";
/// How many entries of a stream one script reads.
const HISTORY_PAGE: u32 = 500;
/// The name of the only Redis consumer in every group; the lock of the group decides which instance acts as it.
const CONSUMER: &str = "worker";

/// How long the id of a published event is kept to detect duplicates, in milliseconds: longer than a relay can take.
const DEDUPLICATION_MS: i64 = 3_600_000;

/// The bus on a Redis server.
#[derive(Clone)]
pub struct RedisBus<R>(pub R);

impl<R: Redis> RedisBus<R> {
    async fn run(
        &self,
        script: &str,
        keys: &[&str],
        arguments: Vec<Argument>,
    ) -> Result<Vec<Reply>, BusError> {
        let count = i64::try_from(keys.len()).unwrap_or_default();
        let mut all = vec![script.into(), Argument::Number(count)];
        all.extend(
            keys.iter()
                .map(|key| Argument::from(format!("{PREFIX}{key}"))),
        );
        all.extend(arguments);
        Ok(self.0.send("EVAL", all).await?)
    }

    async fn finish(
        &self,
        group: &str,
        delivery: &Delivery,
        letter: Option<String>,
    ) -> Result<(), BusError> {
        let mut arguments: Vec<Argument> = vec![
            PREFIX.into(),
            group.into(),
            delivery.channel.as_str().into(),
            delivery.token.as_str().into(),
        ];
        if let Some(letter) = letter {
            arguments.extend([Argument::from(delivery.id.as_str()), letter.into()]);
        }
        self.run(ACKNOWLEDGE, &[], arguments).await.map(drop)
    }
}

impl<R: Redis> Bus for RedisBus<R> {
    async fn publish(&self, events: &[Outgoing], now: Timestamp) -> Result<(), BusError> {
        let mut arguments: Vec<Argument> =
            vec![PREFIX.into(), now.ms().into(), DEDUPLICATION_MS.into()];
        for event in events {
            let parts = [&event.channel, &event.subject, &event.id, &event.body];
            arguments.extend(parts.map(|part| Argument::from(part.as_str())));
        }
        self.run(PUBLISH, &[], arguments).await.map(drop)
    }

    async fn lock(
        &self,
        group: &str,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, BusError> {
        let arguments = vec![owner.into(), now.ms().into(), until.ms().into()];
        let answer = self
            .run(LOCK, &[&format!("lock:{group}")], arguments)
            .await?;
        Ok(answer.first().and_then(Reply::number) == Some(1))
    }

    async fn unlock(&self, group: &str, owner: &str) -> Result<(), BusError> {
        let key = format!("lock:{group}");
        self.run(UNLOCK, &[&key], vec![owner.into()])
            .await
            .map(drop)
    }

    async fn claim(
        &self,
        group: &str,
        channels: &[&str],
        max: u32,
    ) -> Result<Vec<Delivery>, BusError> {
        let mut arguments: Vec<Argument> = vec![
            PREFIX.into(),
            group.into(),
            CONSUMER.into(),
            i64::from(max).into(),
        ];
        arguments.extend(channels.iter().map(|channel| Argument::from(*channel)));
        let answer = self.run(CLAIM, &[], arguments).await?;
        let (entries, _) = answer.as_chunks::<6>();
        Ok(entries.iter().map(delivery).collect())
    }

    async fn acknowledge(&self, group: &str, delivery: &Delivery) -> Result<(), BusError> {
        self.finish(group, delivery, None).await
    }

    async fn postpone(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), BusError> {
        let failures = json!([delivery.attempts, delivery.next_try_at.ms(), reason]);
        let arguments = vec![
            format!("{PREFIX}retry:{group}").into(),
            format!("{}|{}", delivery.channel, delivery.token).into(),
            failures.to_string().into(),
        ];
        self.0.send("HSET", arguments).await?;
        Ok(())
    }

    async fn give_up(
        &self,
        group: &str,
        delivery: &Delivery,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), BusError> {
        let letter = json!({
            "channel": delivery.channel,
            "subject": delivery.subject,
            "body": delivery.body,
            "attempts": delivery.attempts,
            "reason": reason,
            "died_at": now.ms(),
        });
        self.finish(group, delivery, Some(letter.to_string())).await
    }

    async fn dead(&self) -> Result<Vec<DeadLetter>, BusError> {
        let answer = self.run(DEAD, &[], vec![PREFIX.into()]).await?;
        let (entries, _) = answer.as_chunks::<3>();
        let mut letters: Vec<DeadLetter> = entries.iter().filter_map(letter).collect();
        letters.sort_by(|a, b| (a.died_at, &a.group, &a.id).cmp(&(b.died_at, &b.group, &b.id)));
        Ok(letters)
    }

    async fn replay(&self, letter: &DeadLetter, _: Timestamp) -> Result<bool, BusError> {
        let parts = [
            &letter.group,
            &letter.channel,
            &letter.subject,
            &letter.id,
            &letter.body,
        ];
        let mut arguments: Vec<Argument> = vec![PREFIX.into()];
        arguments.extend(parts.map(|part| Argument::from(part.as_str())));
        let answer = self.run(REPLAY, &[], arguments).await?;
        Ok(answer.first().and_then(Reply::number) == Some(1))
    }

    async fn lag(&self) -> Result<Vec<Lag>, BusError> {
        let answer = self.run(LAG, &[], vec![PREFIX.into()]).await?;
        let (entries, _) = answer.as_chunks::<5>();
        let number = |reply: &Reply| reply.number().and_then(|number| u64::try_from(number).ok());
        let lag = |[group, channel, unread, pending, dead]: &[Reply; 5]| {
            Some(Lag {
                group: group.text()?.to_owned(),
                channel: channel.text()?.to_owned(),
                unread: number(unread)?,
                pending: number(pending)?,
                dead: number(dead)?,
            })
        };
        let mut lags: Vec<Lag> = entries.iter().filter_map(lag).collect();
        lags.sort_by(|a, b| (&a.group, &a.channel).cmp(&(&b.group, &b.channel)));
        Ok(lags)
    }

    async fn history(&self, channel: &str, max: u32) -> Result<Vec<(String, String)>, BusError> {
        let key = format!("stream:{channel}");
        let event = |[position, body]: &[Reply; 2]| {
            Some((position.text()?.to_owned(), body.text()?.to_owned()))
        };
        let mut history: Vec<(String, String)> = Vec::new();
        let mut before = "+".to_owned();
        // Read in pages, because a script blocks the server while it runs.
        loop {
            let read = u32::try_from(history.len()).unwrap_or(u32::MAX);
            let page = HISTORY_PAGE.min(max.saturating_sub(read));
            if page == 0 {
                break;
            }
            let arguments = vec![i64::from(page).into(), before.as_str().into()];
            let answer = self.run(HISTORY, &[&key], arguments).await?;
            let (entries, _) = answer.as_chunks::<2>();
            history.extend(entries.iter().filter_map(event));
            match history.last() {
                Some((position, _)) if !entries.is_empty() => before = format!("({position}"),
                _ => break,
            }
        }
        history.reverse();
        Ok(history)
    }

    async fn channels(&self) -> Result<Vec<String>, BusError> {
        let answer = self
            .0
            .send("SMEMBERS", vec![format!("{PREFIX}channels").into()])
            .await?;
        let named = answer
            .iter()
            .filter_map(|reply| reply.text().map(str::to_owned));
        let mut channels: Vec<String> = named.collect();
        channels.sort();
        Ok(channels)
    }

    async fn trim(&self, channel: &str, older_than: Timestamp) -> Result<u64, BusError> {
        let older_than = older_than.ms().max(0).to_string();
        let arguments = vec![PREFIX.into(), channel.into(), older_than.into()];
        let answer = self.run(TRIM, &[], arguments).await?;
        let trimmed = answer.first().and_then(Reply::number);
        Ok(trimmed
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or_default())
    }
}

fn delivery([channel, token, subject, id, body, failures]: &[Reply; 6]) -> Delivery {
    let text = |reply: &Reply| reply.text().unwrap_or_default().to_owned();
    let failures: Value =
        serde_json::from_str(failures.text().unwrap_or_default()).unwrap_or_default();
    let number = |index: usize| {
        failures
            .get(index)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    Delivery {
        token: text(token),
        channel: text(channel),
        subject: text(subject),
        id: text(id),
        body: text(body),
        attempts: u32::try_from(number(0)).unwrap_or_default(),
        next_try_at: Timestamp::from_ms(number(1)),
    }
}

fn letter([group, id, letter]: &[Reply; 3]) -> Option<DeadLetter> {
    let letter: Value = serde_json::from_str(letter.text()?).ok()?;
    let text = |name: &str| letter.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| letter.get(name).and_then(Value::as_i64);
    Some(DeadLetter {
        group: group.text()?.to_owned(),
        id: id.text()?.to_owned(),
        channel: text("channel")?,
        subject: text("subject")?,
        body: text("body")?,
        attempts: u32::try_from(number("attempts")?).ok()?,
        reason: text("reason")?,
        died_at: Timestamp::from_ms(number("died_at")?),
    })
}
