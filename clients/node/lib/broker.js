'use strict';
// Sends requests to one node or several until one acknowledges. Every retry carries the same Idempotency-Key, so nodes
// recognise it, whichever of them received the request before.

const { setTimeout: sleep } = require('node:timers/promises');

const { version } = require('../package.json');
const { PublishError } = require('./publish_error.js');

const DEFAULT_URL = 'http://127.0.0.1:8080';

// Maximum bytes to read of a response: for any response, and in addition for each id of an acknowledgement.
const ANSWER_BYTES = 16 * 1024;
const ID_BYTES = 64;

/** How long nodes remember an Idempotency-Key. */
const KEY_LIFE_MS = 600_000;

// Delays double from the first to the last. Each is drawn from its upper half, so that publishers do not retry in step.
const FIRST_DELAY_MS = 200;
const LAST_DELAY_MS = 5_000;

// Failures that prove that no node received the request.
const NEVER_ARRIVED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

class Broker {
  // Private, so that printing a sender does not print its token.
  #urls;
  #headers;
  #timeout;
  #retryFor;
  #current = 0;
  #onRetry;

  constructor(options = {}) {
    const { url = process.env.PIPECAST_URL || DEFAULT_URL, pipeline, token = process.env.PIPECAST_TOKEN || undefined } = options;
    this.pipeline = checkedPipeline(pipeline);
    this.#urls = [url].flat().flatMap((text) => String(text).split(',')).map((text) => eventsUrl(text.trim(), pipeline));
    this.#headers = { 'Content-Type': 'application/x-ndjson', 'User-Agent': `pipecast-node/${version}` };
    if (token !== undefined) this.#headers.Authorization = `Bearer ${checkedToken(token)}`;
    this.#timeout = checkedMs(options, 'timeout', 10_000, 60_000);
    this.#retryFor = checkedMs(options, 'retryFor', 60_000, 400_000);
    // For the command, which tells its user: called once per request, with the reason.
    this.#onRetry = options.onRetry;
  }

  /** How long after its first attempt a request may be retried without the risk of a duplicate. */
  get safeToRepeatMs() {
    return KEY_LIFE_MS - this.#retryFor - this.#timeout;
  }

  /** Sends `count` lines of NDJSON until they are acknowledged. Returns their ids. Rejects with a `PublishError`. */
  async post(body, key, count) {
    const end = Date.now() + this.#retryFor;
    let step = FIRST_DELAY_MS;
    let asked = 0;
    let isUncertain = false;
    let isNotified = false;
    for (let tries = 1; ; tries += 1) {
      const answer = await this.#try(this.#urls[this.#current], body, key, count);
      if (answer.ids) return answer.ids;
      // A later rejection does not tell what became of an earlier attempt.
      isUncertain ||= answer.isUncertain;
      if (!answer.retry) throw failure(answer, isUncertain);
      this.#current = (this.#current + 1) % this.#urls.length;
      asked = Math.max(asked, answer.retryAfter ?? 0);
      // The next node is tried at once; a delay comes only after all of them.
      if (tries % this.#urls.length !== 0) continue;
      const delay = asked + step * (0.5 + Math.random() / 2);
      if (Date.now() + delay > end) throw failure(answer, isUncertain);
      if (!isNotified) this.#onRetry?.(answer.message);
      isNotified = true;
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
    const timer = setTimeout(() => abort.abort(new DOMException('timeout', 'TimeoutError')), this.#timeout);
    try {
      answer = await fetch(url, {
        method: 'POST',
        headers: { ...this.#headers, 'Idempotency-Key': key },
        body,
        // fetch would repeat the POST as a GET, whose response is the history and no acknowledgement.
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
      return ids ? { ids } : { retry: true, status, isUncertain: true, message: `${url} sent an invalid acknowledgement` };
    }
    const detail = detailIn(text);
    const target = redirectTarget(url, answer);
    const message = `${status}: ${detail ?? `${url} ${target ?? 'sent a response that is not from a Pipecast node'}`}`;
    return {
      status,
      detail,
      message,
      // A timeout is not the request's fault, and load balancers send 502 and 504. A node would repeat its 500.
      retry: status === 408 || status === 429 || status > 500,
      retryAfter: retryAfterMs(answer.headers.get('Retry-After')),
      isUncertain: status >= 500,
    };
  }
}

// Stops after `most` bytes: the response may be endless.
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
    return { retry: true, isUncertain: true, message: `${url} did not respond within ${timeout} ms`, cause: error };
  }
  // fetch itself says only "fetch failed". The reason is its cause, or several where a name has several addresses.
  const cause = error.cause?.errors?.[0] ?? error.cause ?? error;
  return {
    retry: true,
    isUncertain: !NEVER_ARRIVED.has(cause.code),
    message: `cannot reach ${url}: ${cause.message || cause.code}`,
    cause: error,
  };
}

function failure({ message, status, detail, cause }, isUncertain) {
  return new PublishError(message, { status, detail, cause, isUncertain });
}

// One id per event, or `undefined`: then the response is not from a node.
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

// Only the origin: the rest may hold a secret.
function redirectTarget(url, { status, headers }) {
  const location = headers.get('Location');
  if (status < 300 || status >= 400 || location === null) return undefined;
  try {
    return `redirects to ${new URL(location, url).origin}, which is not followed; use that as the url`;
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
  if (pipeline === undefined) throw new TypeError('the pipeline is missing; give its id, as in /pipelines/p_aBcDeF/sse');
  if (!/^[A-Za-z0-9._~-]{1,128}$/.test(pipeline) || pipeline === '.' || pipeline === '..') {
    throw new RangeError(`${JSON.stringify(pipeline)}: a pipeline id is 1-128 characters of A-Z a-z 0-9 . _ ~ -, and neither \`.\` nor \`..\``);
  }
  return pipeline;
}

function eventsUrl(text, pipeline) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`url is not valid: use that of a node or a load balancer, such as ${DEFAULT_URL}`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new RangeError('url must begin with http:// or https://');
  // Errors do not repeat it: it may hold a secret.
  if (url.username || url.password) throw new RangeError('url must not contain a user or password; pass a token instead');
  if (url.search || url.hash) throw new RangeError('url must not contain ? or #');
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}/pipelines/${pipeline}/events`;
}

// Errors never contain the token.
function checkedToken(token) {
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new RangeError('invalid token: a token is visible ASCII without spaces');
  }
  return token;
}

function checkedMs(options, name, standard, most) {
  const ms = options[name] ?? standard;
  if (!(Number.isFinite(ms) && ms > 0 && ms <= most)) throw new RangeError(`${name} must be from 1 to ${most} milliseconds`);
  return ms;
}

exports.Broker = Broker;
