//! What people wish about alerts: written straight into the memory in the store, by whichever agent was asked. The one that
//! speaks takes it in at its next step.

use super::{Alerts, shown, unix_now};
use crate::keys;
use crate::view;
use dauphin_alerts::{Kind, Memory, Refused, SilenceWish};
use dauphin_api::dto;
use dauphin_api::error::ApiError;
use dauphin_model::Span;
use dauphin_store::{Txn, TxnOutcome};
use std::time::Duration;

/// How long the store may take for a wish.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// How often a wish is tried when somebody else writes in between.
const TRIES: u32 = 5;

/// Where all of it is seen.
const NEXT: &str = "dauphin alerts";

impl Alerts {
    /// Keeps some alerts from being told; says what was granted.
    pub(crate) async fn silence(&self, request: dto::SilenceRequest) -> Result<String, ApiError> {
        let picture = self.picture();
        let member = match request.member.as_deref() {
            Some(name) => {
                let all = |e: ApiError| ApiError { message: format!("{}, and \"all\"", e.message), ..e };
                Some(view::known(&picture, name).map_err(all)?.name.clone())
            }
            None => None,
        };
        let kind = request.kind.as_deref().map(str::parse::<Kind>).transpose();
        let kind = kind.map_err(|error| ApiError::usage("no_such_kind", error.to_string(), NEXT))?;
        if request.because.trim().is_empty() {
            return Err(ApiError::usage("no_reason", "a silence needs a reason: whoever finds it asks why", NEXT));
        }
        let lasts = Span::ms(request.seconds.saturating_mul(1_000));
        let by = if request.by.is_empty() { "an operator".to_owned() } else { request.by };
        let wish = SilenceWish { member, kind, lasts, by, because: request.because };
        let granted = self.change(|memory| memory.silence(wish.clone(), unix_now())).await?;
        let granted = shown::silence(&granted);
        let whom = granted.member.unwrap_or_else(|| "all".to_owned());
        let what = granted.kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
        Ok(format!(
            "{whom}{what} is silenced until {}; `dauphin alerts unsilence {}` ends it",
            granted.until, granted.id
        ))
    }

    pub(crate) async fn unsilence(&self, id: u64) -> Result<String, ApiError> {
        self.change(|memory| memory.unsilence(id)).await?;
        Ok(format!("silence {id} is ended"))
    }

    pub(crate) async fn acknowledge(&self, request: dto::AcknowledgeRequest) -> Result<String, ApiError> {
        let by = if request.by.is_empty() { "an operator" } else { request.by.as_str() };
        self.change(|memory| memory.acknowledge(request.id, by, unix_now())).await?;
        Ok(format!("alert {} is in hand: no reminders until it gets worse", request.id))
    }

    /// Changes the memory by compare-and-set.
    async fn change<T>(&self, wish: impl Fn(&mut Memory) -> Result<T, Refused>) -> Result<T, ApiError> {
        for _ in 0..TRIES {
            let (rev, mut memory) = self.stored();
            let granted = wish(&mut memory).map_err(refused)?;
            let value = serde_json::to_vec(&memory).map_err(|e| ApiError::failed("json", e.to_string(), NEXT))?;
            let put = vec![(keys::alerts(), value)];
            let txn = Txn { expect: vec![(keys::alerts(), rev)], put, delete: Vec::new() };
            match self.store.txn(txn, STORE_WITHIN).await {
                Ok(TxnOutcome::Committed { .. }) => return Ok(granted),
                Ok(TxnOutcome::Conflict { .. }) => {
                    // this member may be behind what was committed
                    let _ = self.store.read_linearizable(STORE_WITHIN).await;
                }
                Err(error) => return Err(ApiError::unavailable("store", error.to_string(), "dauphin store status")),
            }
        }
        Err(ApiError::unavailable("changed", "others write at the same time", "the same once more"))
    }
}

fn refused(refused: Refused) -> ApiError {
    match refused {
        Refused::Length | Refused::TooMany => ApiError::usage("bad_silence", refused.to_string(), NEXT),
        Refused::NoSuchSilence(_) | Refused::NoSuchAlert(_) => {
            ApiError::new(dauphin_api::error::Kind::NotFound, "no_such_alert", refused.to_string(), NEXT)
        }
    }
}
