//! A token's claims, and whether they hold here and now.

use serde::{Deserialize, Deserializer};

use super::object::{object, present};
use super::right::{Right, Rights};
use super::token_fault::TokenFault;

/// The first second of the year 10000. A later time is usually one in milliseconds, and the token would never expire.
pub(super) const TOO_LATE: f64 = 253_402_300_800.0;

/// The claims of a token (RFC 7519, 4.1). A claim of the wrong type, `null` included, is an error, never an absent claim.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Claims {
    /// Expiry.
    #[serde(default, deserialize_with = "present")]
    pub exp: Option<NumericDate>,
    /// Not valid before this time.
    #[serde(default, deserialize_with = "present")]
    pub nbf: Option<NumericDate>,
    /// Issuer.
    #[serde(default, deserialize_with = "present")]
    pub iss: Option<String>,
    /// Recipients.
    #[serde(default, deserialize_with = "present")]
    pub aud: Option<Audience>,
    /// The token's own name, by which it can be revoked.
    #[serde(default, deserialize_with = "present")]
    pub jti: Option<String>,
    /// What it allows.
    #[serde(default, deserialize_with = "object")]
    pub pipecast: Rights,
}

/// Seconds since 1970, possibly with a fraction (`NumericDate`), before the year 10000.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct NumericDate(pub f64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if (0.0..TOO_LATE).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(serde::de::Error::custom("a time is a number of seconds since 1970, before the year 10000"))
        }
    }
}

/// One recipient, or a list of them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// A string.
    One(String),
    /// An array.
    Many(Vec<String>),
}

/// What the settings require of claims.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// `auth.issuer`.
    pub issuer: Option<String>,
    /// `auth.audience`.
    pub audience: Option<String>,
    /// `auth.leeway`, in seconds.
    pub leeway: f64,
}

impl Claims {
    /// Whether they hold at `now` (seconds since 1970), for a use of this right.
    ///
    /// The allowed clock skew extends a token's time at both ends, except the end for reading: a stream ends with its token,
    /// and a reconnect within the skew would open one that ends at once, again and again.
    ///
    /// # Errors
    /// The first claim that does not hold.
    pub fn check(&self, expected: &Expected, right: Right, now: f64) -> Result<(), TokenFault> {
        let leeway_at_end = match right {
            Right::Publish => expected.leeway,
            Right::Subscribe => 0.0,
        };
        match self.exp {
            None if right == Right::Subscribe => return Err(TokenFault::NoEnd),
            Some(NumericDate(exp)) if exp + leeway_at_end <= now => return Err(TokenFault::Expired),
            _ => {}
        }
        if self.nbf.is_some_and(|NumericDate(nbf)| nbf - expected.leeway > now) {
            return Err(TokenFault::NotYet);
        }
        if expected.issuer.is_some() && expected.issuer != self.iss {
            return Err(TokenFault::Issuer);
        }
        let is_for_us = |audience: &String| match &self.aud {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.contains(audience),
            None => false,
        };
        if !expected.audience.as_ref().is_none_or(is_for_us) {
            return Err(TokenFault::Audience);
        }
        Ok(())
    }
}
