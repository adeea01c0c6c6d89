'use strict';

const { visible } = require('./visible.js');

/** Why events were not acknowledged. */
class PublishError extends Error {
  name = 'PublishError';

  /** The HTTP status; `undefined` if there was no response. */
  status;

  /** The `detail` of the response, which says what to do. */
  detail;

  /** Whether the events may have been stored despite the error. */
  isUncertain;

  /** The events of the request that failed. */
  events = [];

  /** Whether these events are still collected. The next `flush` sends them with the same key, so never twice. */
  isKept = false;

  /** What the same `flush` sent before the failure: `{id, channel, payload}`. */
  sent = [];

  constructor(message, { status, detail, isUncertain = false, cause } = {}) {
    // The message gets printed, and parts of it come from a response or a certificate.
    super(visible(message), cause && { cause });
    Object.assign(this, { status, detail, isUncertain });
  }
}

exports.PublishError = PublishError;
