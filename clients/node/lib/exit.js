'use strict';
// No event is lost silently: unsent events are sent when the process has nothing left to do, and reported on standard error
// if they are still unsent when it ends.

const { writeSync } = require('node:fs');

const { visibleLines } = require('./visible.js');

const watched = new Set();
let isListening = false;
let hasFailed = false;

/** Flushes an `Outbox` at the end of the process, unless it is unwatched before. */
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
  // Node.js emits beforeExit again after each flush: an unreachable broker would keep the process alive forever.
  if (!hasFailed) await Promise.all([...watched].map(flushOut));
}

async function flushOut(outbox) {
  for (;;) {
    try {
      await outbox.flush();
      return;
    } catch (error) {
      hasFailed = true;
      printError(`${count(error.events.length)} for pipeline ${outbox.pipeline}: ${error.message}`);
      if (error.isKept) return;
    }
  }
}

function warn(code) {
  for (const { unsent, pipeline } of watched) {
    if (unsent > 0) printError(`${count(unsent)} for pipeline ${pipeline} not sent`);
  }
  // Only success becomes failure; an exit code that the process chose itself stays.
  if (code === 0 && hasFailed) process.exitCode = 1;
}

// Synchronous: at exit, process.stderr no longer writes to a pipe.
function printError(text) {
  try {
    writeSync(2, `pipecast: ${visibleLines(text)}\n`);
  } catch {
    // Standard error is closed.
  }
}

function count(events) {
  return events === 1 ? '1 event' : `${events} events`;
}

exports.printError = printError;
exports.count = count;
exports.unwatch = unwatch;
exports.watch = watch;
