/** An event to send. */
export interface Event {
  /** The event's name: what a browser passes to `addEventListener`. 1-255 bytes, no line break. */
  channel: string;
  /** Any JSON value. It is copied when the event is passed in. */
  payload: unknown;
}

/** A stored event. */
export interface SentEvent extends Event {
  /** The event's id, from which a stream can resume. */
  id: string;
}

export interface Options {
  /** A node or a load balancer, or several to try in turn. Default: `PIPECAST_URL`, or `http://127.0.0.1:8080`. */
  url?: string | string[];
  /** The id of the stream, as in `/pipelines/p_aBcDeF/sse`. */
  pipeline: string;
  /** A key or token that allows publishing. Default: `PIPECAST_TOKEN`. */
  token?: string;
  /** Maximum duration of one attempt, in milliseconds. Default: 10,000. */
  timeout?: number;
  /** How long to retry one request, in milliseconds. Default: 60,000. */
  retryFor?: number;
}

export interface Send {
  /** Collects an event. Throws if `channel` or `payload` is missing or cannot be sent. */
  sse(event: Event): void;
  /** Sends all collected events in order, and returns them with their ids. Rejects with a `PublishError`. */
  flush(): Promise<SentEvent[]>;
  /** The number of events that are collected but not acknowledged. */
  readonly unsent: number;
}

/** Collects events and sends them together. Unsent events are sent when the process has nothing left to do. */
export function createSend(options: Options): Send;

/** Publishes events one by one. */
export class Publisher {
  constructor(options: Options);
  /**
   * Returns the event's id once it is stored. Events are stored in the order of the calls. Rejects with a `PublishError`, or
   * with an error of `send.sse`.
   */
  publish(channel: string, payload: unknown): Promise<string>;
}

/** Why events were not acknowledged. */
export class PublishError extends Error {
  name: 'PublishError';
  /** The HTTP status; `undefined` if there was no response. */
  status: number | undefined;
  /** The `detail` of the response, which says what to do. */
  detail: string | undefined;
  /** Whether the events may have been stored despite the error. */
  isUncertain: boolean;
  /** The events of the request that failed. */
  events: Event[];
  /** Whether these events are still collected. The next `flush` sends them with the same key, so never twice. */
  isKept: boolean;
  /** What the same `flush` sent before the failure. */
  sent: SentEvent[];
}

/** The argument of a step's `run`. */
export interface Run {
  /** The results of earlier steps: the content of the `--steps` file. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the shape is the workflow's
  steps: Record<string, any>;
  $: {
    send: {
      /** Collects an event. It is sent after `run` has finished. */
      sse(event: Event): void;
    };
    /** Exports a value. `$summary` is printed. */
    export(name: string, value: unknown): void;
  };
}

export type PropType = 'string' | 'integer' | 'boolean' | 'object' | 'any' | 'string[]' | 'integer[]' | 'boolean[]' | 'object[]' | 'any[]';

export type Prop =
  | PropType
  | { type: PropType; label?: string; description?: string; optional?: boolean; default?: unknown; [other: string]: unknown };

type ValueOf<T> = T extends 'string' ? string : T extends 'integer' ? number : T extends 'boolean' ? boolean
  : T extends `${infer Element}[]` ? ValueOf<Element>[] : any;

type PropsOf<P> = { [Name in keyof P]: P[Name] extends { type: infer Type } ? ValueOf<Type> : ValueOf<P[Name]> };

/** A step: `run`, and for component actions metadata, `props` and `methods`. */
export interface Component<P extends Record<string, Prop> = {}, M = {}> {
  name?: string;
  version?: string;
  key?: string;
  description?: string;
  type?: string;
  props?: P;
  methods?: M & ThisType<PropsOf<P> & M>;
  run(this: PropsOf<P> & M, context: Run): unknown;
}

/** Returns the component unchanged. It gives editors the types. */
export function defineComponent<const P extends Record<string, Prop> = {}, M = {}>(component: Component<P, M>): Component<P, M>;
