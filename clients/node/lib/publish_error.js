'use strict';

const { visible } = require('./visible.js');

/** Why events were not acknowledged. */
class PublishError extends Error {
  name = 'PublishError';

  /** The node's status; `undefined` when there was no answer. */
  status;

  /** The node's `detail`, which says what to do. */
  detail;

  /** Whether the store may have the events nevertheless. */
  isUncertain;

  /** The events of the request that failed. */
  events = [];

  /** Whether these events are still collected: the next `flush` sends them, with the same key, so never twice. */
  isKept = false;

  /** What the same `flush` had sent before: `{id, channel, payload}`. */
  sent = [];

  constructor(message, { status, detail, isUncertain = false, cause } = {}) {
    // It is printed, and what is in it of an answer or a certificate is a stranger's.
    super(visible(message), cause && { cause });
    Object.assign(this, { status, detail, isUncertain });
  }
}

exports.PublishError = PublishError;
