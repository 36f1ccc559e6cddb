//! The short-lived store in memory.

use localmart_guest::kernel::Timestamp;
use localmart_guest::short_lived::{ShortLived, StoreError, seal, unseal};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A store in memory. Clones share its content.
#[derive(Clone, Default)]
pub struct MemoryStore(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl ShortLived for MemoryStore {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let values = self.0.borrow();
        Ok(values
            .get(key)
            .and_then(|sealed| unseal(sealed, now))
            .map(<[u8]>::to_vec))
    }

    async fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let known = self.get(key, now).await?;
        let same = known.as_deref() == expected;
        if same {
            self.0
                .borrow_mut()
                .insert(key.to_owned(), seal(value, expires_at));
        }
        Ok(same)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.borrow_mut().remove(key);
        Ok(())
    }

    async fn sweep(&self, prefix: &str, now: Timestamp) -> Result<u64, StoreError> {
        let mut values = self.0.borrow_mut();
        let before = values.len();
        values.retain(|key, sealed| !key.starts_with(prefix) || unseal(sealed, now).is_some());
        Ok((before - values.len()) as u64)
    }
}
