'use strict';
// Nothing collected is lost silently: what is unsent when the process has nothing left to do is sent then, and what is unsent
// when it ends is complained about.

const { writeSync } = require('node:fs');

const { visibleLines } = require('./visible.js');

const watched = new Set();
let isListening = false;
let hasFailed = false;

/** Looks after an `Outbox` until `unwatch`. */
function watch(outbox) {
  watched.add(outbox);
  if (isListening) return;
  isListening = true;
  process.on('beforeExit', flushAll);
  process.on('exit', warn);
}

function unwatch(outbox) {
  watched.delete(outbox);
}

async function flushAll() {
  // Node asks again after every wait: a broker that is away would hold the process for ever.
  if (!hasFailed) await Promise.all([...watched].map(flushOut));
}

async function flushOut(outbox) {
  for (;;) {
    try {
      await outbox.flush();
      return;
    } catch (error) {
      hasFailed = true;
      complain(`${count(error.events.length)} for pipeline ${outbox.pipeline}: ${error.message}`);
      if (error.isKept) return;
    }
  }
}

function warn(code) {
  for (const { unsent, pipeline } of watched) {
    if (unsent > 0) complain(`${count(unsent)} for pipeline ${pipeline} not sent`);
  }
  // A process that meant to succeed did not; one that chose its code keeps it.
  if (code === 0 && hasFailed) process.exitCode = 1;
}

// Synchronous: writes to a pipe by process.stderr would be too late in the last moment.
function complain(text) {
  try {
    writeSync(2, `pipecast: ${visibleLines(text)}\n`);
  } catch {
    // Nobody reads it.
  }
}

function count(events) {
  return events === 1 ? '1 event' : `${events} events`;
}

exports.complain = complain;
exports.count = count;
exports.unwatch = unwatch;
exports.watch = watch;
