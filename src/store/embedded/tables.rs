//! The tables of the file, and what reads and writes them.
//!
//! A session's key is `realm 0x00 sid`: no realm has a zero byte, and a sid has 16. A subject's is `realm 0x00 length
//! subject`, and an index by it adds the sid, so that one subject's sessions lie together and in order.

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use crate::authz::session::{Realm, Session, SessionId, Timestamp};
use crate::store::change::{self, Step};
use crate::store::record::{self, Stored};
use crate::store::{Changed, Loaded, Page, StoreError};

/// The layout of the tables. Another one is another format.
pub(super) const FORMAT: u64 = 1;

/// `format`, and `last_epoch`: the largest epoch ever given out. Epochs count up over all subjects, so that one which is
/// forgotten and begins anew is above those that came before.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Session key: its record, or its tombstone.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Session key: `last_seen`, in milliseconds.
const SEEN: TableDefinition<'_, &[u8], i64> = TableDefinition::new("seen");
/// Subject key: its epoch, and when the last session that it revoked would have ended.
const EPOCHS: TableDefinition<'_, &[u8], (u64, i64)> = TableDefinition::new("epochs");
/// When an epoch may be forgotten, and its subject's key.
const EPOCHS_BY_END: TableDefinition<'_, (i64, &[u8]), ()> = TableDefinition::new("epochs_by_end");
/// Subject key and sid: the session's epoch and absolute end.
const BY_SUBJECT: TableDefinition<'_, &[u8], (u64, i64)> = TableDefinition::new("by_subject");
/// Provider key and sid.
const BY_PROVIDER: TableDefinition<'_, &[u8], ()> = TableDefinition::new("by_provider");
/// Absolute end and session key, of records and tombstones.
const BY_END: TableDefinition<'_, (i64, &[u8]), ()> = TableDefinition::new("by_end");

/// Why an operation came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file failed: nothing of the transaction may stand.
    File(redb::Error),
    /// This record, and this caller, only.
    Record(StoreError),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

fn record_trouble(error: impl Into<StoreError>) -> Trouble {
    Trouble::Record(error.into())
}

/// The format that the file says it has.
pub(super) fn format(database: &Database) -> Result<Option<u64>, Trouble> {
    let read = database.begin_read()?;
    match read.open_table(META) {
        Ok(meta) => Ok(meta.get("format")?.map(|format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes every table, so that reading one never finds it missing.
pub(super) fn initialise(database: &Database) -> Result<(), Trouble> {
    let write = database.begin_write()?;
    Tables::of(&write)?.meta.insert("format", FORMAT)?;
    write.commit()?;
    Ok(())
}

fn session_key(realm: &Realm, sid: SessionId) -> Vec<u8> {
    [realm.as_str().as_bytes(), &[0], sid.as_bytes()].concat()
}

/// The other way; `None` for a key that [`session_key`] does not make.
fn of_session_key(key: &[u8]) -> Option<(Realm, SessionId)> {
    let (realm, sid) = key.split_last_chunk::<16>()?;
    let realm = std::str::from_utf8(realm.strip_suffix(&[0])?).ok()?;
    Some((Realm::parse(realm)?, SessionId::from_bytes(*sid)))
}

fn prefix(realm: &Realm, parts: &[&str]) -> Vec<u8> {
    let mut key = [realm.as_str().as_bytes(), &[0]].concat();
    for part in parts {
        key.extend_from_slice(&(part.len() as u64).to_be_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    key
}

fn subject_key(realm: &Realm, subject: &str) -> Vec<u8> {
    prefix(realm, &[subject])
}

fn provider_key(session: &Session) -> Option<Vec<u8>> {
    let provider = session.provider.as_ref()?;
    let key = prefix(&session.realm, &[&provider.iss, provider.sid.as_ref()?]);
    Some(with_sid(&key, session.id.as_bytes()))
}

fn with_sid(key: &[u8], sid: &[u8; 16]) -> Vec<u8> {
    [key, sid].concat()
}

/// The index entries of one subject or provider session: their ids, which close the key, and their values.
fn entries<'t, V: redb::Value + 'static, T>(
    index: &'t impl ReadableTable<&'static [u8], V>,
    key: &[u8],
    after: Option<SessionId>,
    read: impl Fn(V::SelfType<'_>) -> T + 't,
) -> Result<impl Iterator<Item = Result<(SessionId, T), Trouble>> + 't, Trouble> {
    use std::ops::Bound::{Excluded, Included};
    let first = with_sid(key, &[0; 16]);
    let last = with_sid(key, &[0xff; 16]);
    let from = after.map(|sid| with_sid(key, sid.as_bytes()));
    let from = from.as_deref().map_or(Included(first.as_slice()), Excluded);
    let range = index.range::<&[u8]>((from, Included(last.as_slice())))?;
    Ok(range.map(move |entry| {
        let (key, value) = entry?;
        let sid = key.value().last_chunk().copied().unwrap_or_default();
        Ok((SessionId::from_bytes(sid), read(value.value())))
    }))
}

fn epoch_of(epochs: &impl ReadableTable<&'static [u8], (u64, i64)>, subject: &[u8]) -> Result<u64, Trouble> {
    Ok(epochs.get(subject)?.map_or(0, |found| found.value().0))
}

fn find(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seen: &impl ReadableTable<&'static [u8], i64>,
    epochs: &impl ReadableTable<&'static [u8], (u64, i64)>,
    (realm, sid): (&Realm, SessionId),
) -> Result<Loaded, Trouble> {
    let key = session_key(realm, sid);
    let Some(bytes) = records.get(key.as_slice())? else { return Ok(Loaded::Absent) };
    let Stored::Session(mut session) = record::decode(realm, sid, bytes.value()).map_err(record_trouble)? else {
        return Ok(Loaded::Revoked);
    };
    if session.epoch < epoch_of(epochs, &subject_key(realm, &session.subject))? {
        return Ok(Loaded::Revoked);
    }
    if let Some(at) = seen.get(key.as_slice())? {
        session.last_seen = Timestamp::from_millis(at.value());
    }
    Ok(Loaded::Session(session))
}

/// The tables as the last commit left them.
pub(super) struct Snapshot {
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    seen: ReadOnlyTable<&'static [u8], i64>,
    epochs: ReadOnlyTable<&'static [u8], (u64, i64)>,
    by_subject: ReadOnlyTable<&'static [u8], (u64, i64)>,
    by_provider: ReadOnlyTable<&'static [u8], ()>,
}

impl Snapshot {
    pub(super) fn of(read: &ReadTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            records: read.open_table(RECORDS)?,
            seen: read.open_table(SEEN)?,
            epochs: read.open_table(EPOCHS)?,
            by_subject: read.open_table(BY_SUBJECT)?,
            by_provider: read.open_table(BY_PROVIDER)?,
        })
    }

    pub(super) fn load(&self, realm: &Realm, sid: SessionId) -> Result<Loaded, Trouble> {
        find(&self.records, &self.seen, &self.epochs, (realm, sid))
    }

    pub(super) fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
    ) -> Result<Page, Trouble> {
        let subject = subject_key(realm, subject);
        let least = epoch_of(&self.epochs, &subject)?;
        let mut page = Page { sessions: Vec::new(), next: None };
        for entry in entries(&self.by_subject, &subject, after, |(epoch, _)| epoch)? {
            let (sid, epoch) = entry?;
            if epoch < least {
                continue;
            }
            if page.sessions.len() == limit {
                page.next = page.sessions.last().map(|session| session.id);
                break;
            }
            if let Loaded::Session(session) = self.load(realm, sid)? {
                page.sessions.push(*session);
            }
        }
        Ok(page)
    }

    pub(super) fn by_provider(&self, realm: &Realm, iss: &str, sid: &str) -> Result<Vec<SessionId>, Trouble> {
        let found = entries(&self.by_provider, &prefix(realm, &[iss, sid]), None, |()| ())?;
        found.map(|entry| entry.map(|(sid, ())| sid)).collect()
    }
}

/// The tables within one write transaction.
///
/// Every operation finds what is wrong with a record before it writes anything, so that one caller's trouble leaves nothing
/// behind in a transaction that others share.
pub(super) struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    records: Table<'t, &'static [u8], &'static [u8]>,
    seen: Table<'t, &'static [u8], i64>,
    epochs: Table<'t, &'static [u8], (u64, i64)>,
    epochs_by_end: Table<'t, (i64, &'static [u8]), ()>,
    by_subject: Table<'t, &'static [u8], (u64, i64)>,
    by_provider: Table<'t, &'static [u8], ()>,
    by_end: Table<'t, (i64, &'static [u8]), ()>,
}

impl<'t> Tables<'t> {
    pub(super) fn of(write: &'t WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            meta: write.open_table(META)?,
            records: write.open_table(RECORDS)?,
            seen: write.open_table(SEEN)?,
            epochs: write.open_table(EPOCHS)?,
            epochs_by_end: write.open_table(EPOCHS_BY_END)?,
            by_subject: write.open_table(BY_SUBJECT)?,
            by_provider: write.open_table(BY_PROVIDER)?,
            by_end: write.open_table(BY_END)?,
        })
    }

    fn load(&self, realm: &Realm, sid: SessionId) -> Result<Loaded, Trouble> {
        find(&self.records, &self.seen, &self.epochs, (realm, sid))
    }

    pub(super) fn create(&mut self, session: Session) -> Result<Changed, Trouble> {
        match self.load(&session.realm, session.id)? {
            Loaded::Session(stored) => {
                let same = change::is_same_creation(&stored, &session).map_err(record_trouble)?;
                return Ok(if same { Changed::Done(stored) } else { Changed::Conflict(stored) });
            }
            Loaded::Revoked => return Ok(Changed::Gone(Loaded::Revoked)),
            Loaded::Absent => {}
        }
        let subject = subject_key(&session.realm, &session.subject);
        let session = Session { epoch: epoch_of(&self.epochs, &subject)?, ..session };
        let bytes = record::encode(&session).map_err(record_trouble)?;
        let key = session_key(&session.realm, session.id);
        let ends = session.absolute_end.as_millis();
        self.records.insert(key.as_slice(), bytes.as_slice())?;
        self.seen.insert(key.as_slice(), session.last_seen.as_millis())?;
        self.by_subject.insert(with_sid(&subject, session.id.as_bytes()).as_slice(), (session.epoch, ends))?;
        self.by_end.insert((ends, key.as_slice()), ())?;
        if let Some(provider) = provider_key(&session) {
            self.by_provider.insert(provider.as_slice(), ())?;
        }
        Ok(Changed::Done(Box::new(session)))
    }

    pub(super) fn change(
        &mut self,
        realm: &Realm,
        sid: SessionId,
        step: impl FnOnce(Session) -> Step,
    ) -> Result<Changed, Trouble> {
        let stored = match self.load(realm, sid)? {
            Loaded::Session(stored) => stored,
            gone => return Ok(Changed::Gone(gone)),
        };
        let session = match step((*stored).clone()) {
            Step::Write(session) => session,
            Step::Conflict => return Ok(Changed::Conflict(stored)),
        };
        let bytes = record::encode(&session).map_err(record_trouble)?;
        self.records.insert(session_key(realm, sid).as_slice(), bytes.as_slice())?;
        let (before, after) = (provider_key(&stored), provider_key(&session));
        if before != after {
            if let Some(key) = before {
                self.by_provider.remove(key.as_slice())?;
            }
            if let Some(key) = after {
                self.by_provider.insert(key.as_slice(), ())?;
            }
        }
        Ok(Changed::Done(session))
    }

    pub(super) fn touch(&mut self, realm: &Realm, sid: SessionId, seen: Timestamp) -> Result<(), Trouble> {
        if let Loaded::Session(stored) = self.load(realm, sid)?
            && stored.last_seen < seen
        {
            self.seen.insert(session_key(realm, sid).as_slice(), seen.as_millis())?;
        }
        Ok(())
    }

    pub(super) fn revoke(&mut self, realm: &Realm, sid: SessionId) -> Result<bool, Trouble> {
        let Loaded::Session(session) = self.load(realm, sid)? else { return Ok(false) };
        let key = session_key(realm, sid);
        let tombstone = record::encode_tombstone(realm, sid, session.absolute_end);
        self.records.insert(key.as_slice(), tombstone.as_slice())?;
        self.seen.remove(key.as_slice())?;
        self.unindex(&session)?;
        Ok(true)
    }

    pub(super) fn revoke_subject(&mut self, realm: &Realm, subject: &str) -> Result<Vec<SessionId>, Trouble> {
        let subject = subject_key(realm, subject);
        let before = self.epochs.get(subject.as_slice())?.map(|found| found.value());
        let least = before.map_or(0, |(epoch, _)| epoch);
        let mut live = Vec::new();
        let mut until = None;
        for entry in entries(&self.by_subject, &subject, None, |value| value)? {
            let (sid, (epoch, ends)) = entry?;
            until = until.max(Some(ends));
            if epoch >= least {
                live.push(sid);
            }
        }
        // Without a session there is nothing to end, and no row for a name that anyone may have made up.
        let Some(until) = until else { return Ok(live) };
        let epoch = self.meta.get("last_epoch")?.map_or(0, |found| found.value()).saturating_add(1);
        self.meta.insert("last_epoch", epoch)?;
        if let Some((_, until)) = before {
            self.epochs_by_end.remove((until, subject.as_slice()))?;
        }
        self.epochs.insert(subject.as_slice(), (epoch, until))?;
        self.epochs_by_end.insert((until, subject.as_slice()), ())?;
        Ok(live)
    }

    /// Forgets up to `most` records and tombstones; fewer only when no more are due.
    pub(super) fn sweep(&mut self, now: Timestamp, most: usize) -> Result<usize, Trouble> {
        let due = due(&self.by_end, now, most)?;
        for (ends, key) in &due {
            self.by_end.remove((*ends, key.as_slice()))?;
            self.seen.remove(key.as_slice())?;
            let bytes = self.records.remove(key.as_slice())?.map(|bytes| bytes.value().to_vec());
            // A record that does not decode is over all the same: its end is known from the index.
            if let (Some(bytes), Some((realm, sid))) = (bytes, of_session_key(key))
                && let Ok(Stored::Session(session)) = record::decode(&realm, sid, &bytes)
            {
                self.unindex(&session)?;
            }
        }
        // An epoch goes only when nothing is left that it revokes.
        if due.len() < most {
            for (ends, subject) in self::due(&self.epochs_by_end, now, most)? {
                self.epochs_by_end.remove((ends, subject.as_slice()))?;
                self.epochs.remove(subject.as_slice())?;
            }
        }
        Ok(due.len())
    }

    fn unindex(&mut self, session: &Session) -> Result<(), Trouble> {
        let subject = subject_key(&session.realm, &session.subject);
        self.by_subject.remove(with_sid(&subject, session.id.as_bytes()).as_slice())?;
        if let Some(provider) = provider_key(session) {
            self.by_provider.remove(provider.as_slice())?;
        }
        Ok(())
    }

    /// Puts bytes under a key behind the store's back.
    #[cfg(test)]
    pub(super) fn plant(&mut self, realm: &Realm, sid: SessionId, bytes: &[u8]) -> Result<(), Trouble> {
        self.records.insert(session_key(realm, sid).as_slice(), bytes)?;
        Ok(())
    }

    /// How many rows each table has.
    #[cfg(test)]
    pub(super) fn rows(&mut self) -> Result<Vec<u64>, Trouble> {
        use redb::ReadableTableMetadata as _;
        Ok(vec![
            self.records.len()?,
            self.seen.len()?,
            self.epochs.len()?,
            self.epochs_by_end.len()?,
            self.by_subject.len()?,
            self.by_provider.len()?,
            self.by_end.len()?,
        ])
    }
}

/// The first `most` entries that end before `now`.
fn due(
    index: &impl ReadableTable<(i64, &'static [u8]), ()>,
    now: Timestamp,
    most: usize,
) -> Result<Vec<(i64, Vec<u8>)>, Trouble> {
    let nothing: &[u8] = &[];
    let due = index.range::<(i64, &[u8])>(..(now.as_millis(), nothing))?;
    due.take(most)
        .map(|entry| {
            let (key, _) = entry?;
            let (ends, key) = key.value();
            Ok((ends, key.to_vec()))
        })
        .collect()
}
