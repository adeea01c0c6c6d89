'use strict';
// The command `pipecast-run`. Exit codes: 0 success, 1 failure, 2 usage error.

const { readFileSync } = require('node:fs');
const { resolve } = require('node:path');
const { parseArgs } = require('node:util');

const { version } = require('../package.json');
const { UsageError, bind } = require('./component.js');
const { printError, count } = require('./exit.js');
const { createSend } = require('./index.js');
const { load } = require('./step.js');
const { visible, visibleLines } = require('./visible.js');

const HELP = `Run a workflow step and send its events

Usage: pipecast-run [OPTIONS] --pipeline <PIPELINE> <FILE>

Arguments:
  <FILE>  The step: export default defineComponent({ async run({ steps, $ }) { ... } })

Options:
      --url <URL>            The node, or the load balancer in front of the nodes. Separate several
                             nodes with commas
                             [env: PIPECAST_URL] [default: http://127.0.0.1:8080]
      --pipeline <PIPELINE>  The pipeline, as in /pipelines/p_aBcDeF/sse
      --token <TOKEN>        Key or token. Prefer PIPECAST_TOKEN: command lines are visible to other users
      --steps <FILE>         JSON file with the results of earlier steps, passed as \`steps\`
      --prop <KEY=VALUE>     A prop of a component action. Repeatable; repeat a key to build an array
  -h, --help                 Print help
  -V, --version              Print version

Prints the sent events to standard output, one per line. Exit codes: 0 success, 1 failure, 2 usage error.

Examples:
  npx pipecast-run step.mjs --pipeline p_aBcDeF
  npx pipecast-run action.mjs --url https://events.example.com --pipeline p_aBcDeF --prop greeting=Hello
`;

const OPTIONS = {
  url: { type: 'string' },
  pipeline: { type: 'string' },
  token: { type: 'string' },
  steps: { type: 'string' },
  prop: { type: 'string', multiple: true, default: [] },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
};

async function main(args) {
  // Failure until proven otherwise: a step may wait for something that never happens, or end the process itself.
  process.exitCode = 1;
  let isDone = false;
  process.on('exit', () => {
    if (!isDone) printError('the process ended before the step finished');
  });
  try {
    await run(args);
    isDone = true;
    process.exitCode = 0;
  } catch (error) {
    isDone = true;
    fail(error);
  }
}

// Exits at once: events that could not be sent have been retried long enough, and a failed step may have left timers running.
function fail(error) {
  const isUsage = error instanceof UsageError;
  printError(isUsage ? `${error.message}; see pipecast-run --help` : error.message);
  process.exit(isUsage ? 2 : 1);
}

async function run(args) {
  const request = parse(args);
  if (request.answer) {
    process.stdout.write(request.answer);
    return;
  }
  const { path, options, steps, props } = request;
  const onRetry = (reason) => printError(`${visible(reason)}; retrying`);
  const send = asUsage(() => createSend({ ...options, onRetry }));
  // Events that timers send after `run` has returned.
  process.on('beforeExit', () => {
    if (send.unsent > 0) flush(send, options.pipeline).catch(fail);
  });
  const component = await load(path).catch((error) => {
    throw new Error(`cannot load ${path}: ${traceOf(error)}`);
  });
  const self = bind(component, props);
  const failures = [];
  try {
    await component.run.call(self, { steps, $: { send: { sse: send.sse }, export: report } });
  } catch (error) {
    failures.push(`the step failed: ${traceOf(error)}`);
  }
  // Events that the step sent before it failed are published too.
  await flush(send, options.pipeline).catch((error) => failures.push(error.message));
  if (failures.length > 0) throw new Error(failures.join('\npipecast: '));
}

async function flush(send, pipeline) {
  try {
    printSent(await send.flush());
  } catch (error) {
    printSent(error.sent ?? []);
    const kept = error.isKept ? 0 : error.events.length;
    throw new Error(`${count(send.unsent + kept)} not sent to pipeline ${pipeline}: ${error.message}`);
  }
}

function printSent(sent) {
  process.stdout.write(sent.map((event) => `${visible(JSON.stringify(event))}\n`).join(''));
}

// Prints the summary of an action. Other exports are for later steps, of which there are none here.
function report(name, value) {
  if (name === '$summary') process.stderr.write(`${visibleLines(value)}\n`);
}

function traceOf(error) {
  return error instanceof Error ? error.stack : String(error);
}

function parse(args) {
  const { values, positionals } = asUsage(() => parseArgs({ args, options: OPTIONS, allowPositionals: true }));
  if (values.help || args.length === 0) return { answer: HELP };
  if (values.version) return { answer: `pipecast-run ${version}\n` };
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0) throw new UsageError('give exactly one step file');
  if (values.pipeline === undefined) throw new UsageError('--pipeline is missing');
  const path = resolve(file);
  read(path);
  return {
    path,
    options: { url: values.url, pipeline: values.pipeline, token: values.token },
    steps: values.steps === undefined ? {} : asJson(values.steps),
    props: asProps(values.prop),
  };
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`cannot read ${path}: ${error.code}`);
  }
}

function asJson(path) {
  const text = read(path);
  return asUsage(() => JSON.parse(text), `${path} is not valid JSON: `);
}

function asProps(texts) {
  const props = new Map();
  for (const text of texts) {
    const end = text.indexOf('=');
    if (end < 1) throw new UsageError(`--prop ${text} is not key=value`);
    const name = text.slice(0, end);
    props.set(name, [...(props.get(name) ?? []), text.slice(end + 1)]);
  }
  return props;
}

function asUsage(make, prefix = '') {
  try {
    return make();
  } catch (error) {
    throw new UsageError(prefix + error.message);
  }
}

exports.main = main;
