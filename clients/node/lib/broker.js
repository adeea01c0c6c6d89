'use strict';
// Where requests go: one node or several, tried until one acknowledges. Every repetition carries the same Idempotency-Key, by
// which the nodes know it, whichever of them had the request before.

const { setTimeout: sleep } = require('node:timers/promises');

const { version } = require('../package.json');
const { PublishError } = require('./publish_error.js');

const DEFAULT_URL = 'http://127.0.0.1:8080';

// As much is read of an answer: a refusal, or an acknowledgement with so much for each id.
const ANSWER_BYTES = 16 * 1024;
const ID_BYTES = 64;

/** How long nodes know an Idempotency-Key. */
const KEY_LIFE_MS = 600_000;

// Waiting times double from the first to the last, each drawn from its upper half, so that publishers do not come in step.
const FIRST_DELAY_MS = 200;
const LAST_DELAY_MS = 5_000;

// Failures after which the request has certainly reached nobody.
const NEVER_ARRIVED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

class Broker {
  // Private, so that nothing that prints a sender prints its token.
  #urls;
  #headers;
  #timeout;
  #retryFor;
  #current = 0;

  constructor(options = {}) {
    const { url = process.env.PIPECAST_URL || DEFAULT_URL, pipeline, token = process.env.PIPECAST_TOKEN || undefined } = options;
    this.pipeline = checkedPipeline(pipeline);
    this.#urls = [url].flat().flatMap((text) => String(text).split(',')).map((text) => eventsUrl(text.trim(), pipeline));
    this.#headers = { 'Content-Type': 'application/x-ndjson', 'User-Agent': `pipecast-node/${version}` };
    if (token !== undefined) this.#headers.Authorization = `Bearer ${checkedToken(token)}`;
    this.#timeout = checkedMs(options, 'timeout', 10_000, 60_000);
    this.#retryFor = checkedMs(options, 'retryFor', 60_000, 400_000);
  }

  /** How long after its first try a request may be sent again without the danger of a double. */
  get safeToRepeatMs() {
    return KEY_LIFE_MS - this.#retryFor - this.#timeout;
  }

  /** Sends so many lines of NDJSON until they are acknowledged, and gives their ids. Rejects with a `PublishError`. */
  async post(body, key, count) {
    const end = Date.now() + this.#retryFor;
    let step = FIRST_DELAY_MS;
    let asked = 0;
    let isUncertain = false;
    for (let tries = 1; ; tries += 1) {
      const answer = await this.#try(this.#urls[this.#current], body, key, count);
      if (answer.ids) return answer.ids;
      // What an earlier try left open, a later refusal does not close.
      isUncertain ||= answer.isUncertain;
      if (!answer.retry) throw failure(answer, isUncertain);
      this.#current = (this.#current + 1) % this.#urls.length;
      asked = Math.max(asked, answer.retryAfter ?? 0);
      // Other nodes are asked at once; all of them again only after a while.
      if (tries % this.#urls.length !== 0) continue;
      const delay = asked + step * (0.5 + Math.random() / 2);
      if (Date.now() + delay > end) throw failure(answer, isUncertain);
      await sleep(delay);
      step = Math.min(step * 2, LAST_DELAY_MS);
      asked = 0;
    }
  }

  async #try(url, body, key, count) {
    let answer;
    let text;
    // Not AbortSignal.timeout: its timer does not keep the process alive.
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(new DOMException('too late', 'TimeoutError')), this.#timeout);
    try {
      answer = await fetch(url, {
        method: 'POST',
        headers: { ...this.#headers, 'Idempotency-Key': key },
        body,
        // fetch would follow with GET, and take the history for an acknowledgement.
        redirect: 'manual',
        signal: abort.signal,
      });
      text = await beginningOf(answer, ANSWER_BYTES + count * ID_BYTES);
    } catch (error) {
      return unanswered(url, error, this.#timeout);
    } finally {
      clearTimeout(timer);
    }
    const { status } = answer;
    if (status === 202) {
      const ids = idsIn(text, count);
      return ids ? { ids } : { retry: true, status, isUncertain: true, message: `${url} gave an acknowledgement that cannot be read` };
    }
    const detail = detailIn(text);
    const target = redirectTarget(url, answer);
    const message = `${status}: ${detail ?? `${url} ${target ?? 'answered what no Pipecast node does'}`}`;
    return {
      status,
      detail,
      message,
      // A time-out is not the request's fault, and load balancers answer 502 and 504. A node's 500 would come again.
      retry: status === 408 || status === 429 || status > 500,
      retryAfter: retryAfterMs(answer.headers.get('Retry-After')),
      isUncertain: status >= 500,
    };
  }
}

// What follows is not waited for: whatever answers may go on for ever.
async function beginningOf(answer, most) {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const part of answer.body ?? []) {
    const taken = part.subarray(0, most - bytes);
    bytes += taken.length;
    text += decoder.decode(taken, { stream: true });
    if (bytes === most) break;
  }
  return text + decoder.decode();
}

function unanswered(url, error, timeout) {
  if (error.name === 'TimeoutError') {
    return { retry: true, isUncertain: true, message: `${url} did not answer within ${timeout} ms`, cause: error };
  }
  // fetch says only "fetch failed"; what happened is in the cause, which is several where a name has several addresses.
  const cause = error.cause?.errors?.[0] ?? error.cause ?? error;
  return {
    retry: true,
    isUncertain: !NEVER_ARRIVED.has(cause.code),
    message: `${url} cannot be reached: ${cause.message || cause.code}`,
    cause: error,
  };
}

function failure({ message, status, detail, cause }, isUncertain) {
  return new PublishError(message, { status, detail, cause, isUncertain });
}

// One for each event, or whatever answered is no node.
function idsIn(text, count) {
  try {
    const { ids } = JSON.parse(text);
    return Array.isArray(ids) && ids.length === count && ids.every((id) => /^\d+-\d+$/.test(id)) ? ids : undefined;
  } catch {
    return undefined;
  }
}

function detailIn(text) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === 'string' ? detail : undefined;
  } catch {
    return undefined;
  }
}

// Its origin alone: there may be a secret in the rest.
function redirectTarget(url, { status, headers }) {
  const location = headers.get('Location');
  if (status < 300 || status >= 400 || location === null) return undefined;
  try {
    return `redirects to ${new URL(location, url).origin}, which is not followed; give that as url`;
  } catch {
    return undefined;
  }
}

// Seconds or a date (RFC 9110, 10.2.3).
function retryAfterMs(header) {
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return ms > 0 ? ms : undefined;
}

function checkedPipeline(pipeline) {
  if (pipeline === undefined) throw new TypeError('pipeline is missing: the stream\'s id, as in /pipelines/p_aBcDeF/sse');
  if (!/^[A-Za-z0-9._~-]{1,128}$/.test(pipeline) || pipeline === '.' || pipeline === '..') {
    throw new RangeError(`the pipeline ${JSON.stringify(pipeline)} is none: 1-128 characters of A-Z a-z 0-9 . _ ~ -`);
  }
  return pipeline;
}

function eventsUrl(text, pipeline) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`url must be that of a node or a load balancer, such as ${DEFAULT_URL}`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new RangeError('url must begin with http:// or https://');
  // Not shown: it may hold a secret.
  if (url.username || url.password) throw new RangeError('url must have no user and password; give a token');
  if (url.search || url.hash) throw new RangeError('url must have no ? and #');
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}/pipelines/${pipeline}/events`;
}

// The token itself is in no message.
function checkedToken(token) {
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new RangeError('the token is none: a token is visible ASCII without blanks');
  }
  return token;
}

function checkedMs(options, name, standard, most) {
  const ms = options[name] ?? standard;
  if (!(Number.isFinite(ms) && ms > 0 && ms <= most)) throw new RangeError(`${name} must be milliseconds, 1-${most}`);
  return ms;
}

exports.Broker = Broker;
