//! A token's claims, and whether they hold here and at this moment.

use serde::{Deserialize, Deserializer};

use super::object::{object, present};
use super::right::{Right, Rights};
use super::token::TokenFault;

/// The first second of the year 10000. What is meant to be later is mostly in milliseconds: it would be good for ever.
pub(super) const TOO_LATE: f64 = 253_402_300_800.0;

/// What a token says (RFC 7519, 4.1). A claim of the wrong type, `null` included, is an error, never an absent claim.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Claims {
    /// From then on it is good for nothing.
    #[serde(default, deserialize_with = "present")]
    pub exp: Option<NumericDate>,
    /// Before then it is good for nothing.
    #[serde(default, deserialize_with = "present")]
    pub nbf: Option<NumericDate>,
    /// Who made it.
    #[serde(default, deserialize_with = "present")]
    pub iss: Option<String>,
    /// For whom it was made.
    #[serde(default, deserialize_with = "present")]
    pub aud: Option<Audience>,
    /// Its own name, to be revoked by.
    #[serde(default, deserialize_with = "present")]
    pub jti: Option<String>,
    /// What it is good for.
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
            Err(serde::de::Error::custom("a moment is a number of seconds since 1970, before the year 10000"))
        }
    }
}

/// One recipient or several.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// What claims must be like, from the settings.
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
    /// Whether they hold at `now`, for a use of this right.
    ///
    /// The leeway lengthens a token's time at both ends, but not for reading: a stream ends with its token, and
    /// a reconnect in the leeway would open one that has ended already, again and again.
    ///
    /// # Errors
    /// The first that does not hold.
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
