//! Messages for Redis triggers, from subscriptions to servers or from guests of this process. As in Redis, a message
//! without a subscriber or without capacity is lost, so use messages only as wake-ups.

use crate::app::{EMBEDDED, Subscription};
use crate::connect::{self, Backoff};
use crate::limits;
use futures::StreamExt as _;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its origin: the address of a server, or `embedded`.
    pub address: String,
    /// The channel.
    pub channel: String,
    /// The content.
    pub payload: Vec<u8>,
}

/// Passes messages to the cores in round-robin order.
#[derive(Default)]
pub struct Messages {
    cores: Mutex<Vec<mpsc::UnboundedSender<Message>>>,
    next: AtomicUsize,
    channels: Mutex<BTreeSet<(String, String)>>,
}

impl Messages {
    /// Only channels with a subscription are delivered.
    pub fn new(subscriptions: &[Subscription]) -> Self {
        let place = |one: &Subscription| (one.address.clone(), one.channel.clone());
        Self {
            channels: Mutex::new(subscriptions.iter().map(place).collect()),
            ..Self::default()
        }
    }

    /// Registers a core, which then receives messages.
    pub fn register_core(&self, inbox: mpsc::UnboundedSender<Message>) {
        if let Ok(mut cores) = self.cores.lock() {
            cores.push(inbox);
        }
    }

    /// Passes a message to the next core. Returns the number of subscribers.
    pub fn deliver(&self, message: Message) -> usize {
        let place = (message.address.clone(), message.channel.clone());
        let heard = self
            .channels
            .lock()
            .is_ok_and(|known| known.contains(&place));
        if !heard {
            return 0;
        }
        let Ok(cores) = self.cores.lock() else {
            return 0;
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let core = turn.checked_rem(cores.len()).and_then(|at| cores.get(at));
        core.map_or(0, |core| usize::from(core.send(message).is_ok()))
    }

    /// The servers with subscriptions, and their channels.
    fn servers(&self) -> Vec<(String, Vec<String>)> {
        let Ok(channels) = self.channels.lock() else {
            return Vec::new();
        };
        let mut servers: Vec<(String, Vec<String>)> = Vec::new();
        for (address, channel) in channels.iter() {
            match servers.last_mut().filter(|(last, _)| last == address) {
                Some((_, known)) => known.push(channel.clone()),
                None => servers.push((address.clone(), vec![channel.clone()])),
            }
        }
        servers.retain(|(address, _)| address != EMBEDDED);
        servers
    }
}

/// Subscribes to all servers, on this core. A lost subscription is renewed until it succeeds.
pub fn subscribe(messages: &std::sync::Arc<Messages>) {
    for (address, channels) in messages.servers() {
        tokio::task::spawn_local(follow(messages.clone(), address, channels));
    }
}

async fn follow(messages: std::sync::Arc<Messages>, address: String, channels: Vec<String>) {
    let mut backoff = Backoff::new(
        limits::REDIS_SUBSCRIBE_BACKOFF,
        limits::REDIS_SUBSCRIBE_MAX_BACKOFF,
    );
    loop {
        let since = tokio::time::Instant::now();
        if let Err(error) = listen(&messages, &address, &channels).await {
            tracing::warn!(?channels, %error, "a Redis subscription was lost and will be renewed");
        }
        backoff.pause(since.elapsed()).await;
    }
}

async fn listen(
    messages: &Messages,
    address: &str,
    channels: &[String],
) -> Result<(), redis::RedisError> {
    let mut connection = connect::redis_subscriber(address).await?;
    for channel in channels {
        connection.subscribe(channel).await?;
    }
    let mut heard = connection.on_message();
    while let Some(message) = heard.next().await {
        messages.deliver(Message {
            address: address.to_owned(),
            channel: message.get_channel_name().to_owned(),
            payload: message.get_payload_bytes().to_vec(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_one_core_if_there_is_a_subscriber() {
        let subscription = Subscription {
            address: "embedded".into(),
            channel: "a".into(),
            component: "x".into(),
        };
        let messages = Messages::new(&[subscription]);
        let (inbox, mut heard) = mpsc::unbounded_channel();
        messages.register_core(inbox);
        let message = |channel: &str| Message {
            address: "embedded".into(),
            channel: channel.into(),
            payload: b"1".to_vec(),
        };
        assert_eq!(
            (
                messages.deliver(message("a")),
                messages.deliver(message("b"))
            ),
            (1, 0)
        );
        assert_eq!(heard.try_recv(), Ok(message("a")));
        assert!(heard.try_recv().is_err());
    }
}
