/** What `send.sse` takes. */
export interface Event {
  /** The event's name: what a browser passes to `addEventListener`. 1-255 bytes, no line break. */
  channel: string;
  /** Any JSON value; taken as it is at the call. */
  payload: unknown;
}

/** An event that the store has. */
export interface SentEvent extends Event {
  /** Its id, a resume point for streams. */
  id: string;
}

export interface Options {
  /** A node or a load balancer; several are tried in turn. By default `PIPECAST_URL`, or `http://127.0.0.1:8080`. */
  url?: string | string[];
  /** The stream's id, as in `/pipelines/p_aBcDeF/sse`. */
  pipeline: string;
  /** A key or token that may publish. By default `PIPECAST_TOKEN`. */
  token?: string;
  /** Longest time for one try, in milliseconds: 10,000 by default. */
  timeout?: number;
  /** How long one request is tried again, in milliseconds: 60,000 by default. */
  retryFor?: number;
}

export interface Send {
  /** Collects an event. Throws when `channel` or `payload` is missing or cannot be sent as it is. */
  sse(event: Event): void;
  /** Sends what is collected, in order, and gives it with its ids. Rejects with a `PublishError`. */
  flush(): Promise<SentEvent[]>;
  /** How many events are collected and not acknowledged. */
  readonly unsent: number;
}

/** Collects events and sends them together. What is collected when the process has nothing left to do is sent then. */
export function createSend(options: Options): Send;

/** Publishes events one by one. */
export class Publisher {
  constructor(options: Options);
  /**
   * Gives the event's id once the store has it. Events arrive in the order of the calls. Rejects with a `PublishError`, or
   * with what `send.sse` throws.
   */
  publish(channel: string, payload: unknown): Promise<string>;
}

/** Why events were not acknowledged. */
export class PublishError extends Error {
  name: 'PublishError';
  /** The node's status; `undefined` when there was no answer. */
  status: number | undefined;
  /** The node's explanation, which says what to do. */
  detail: string | undefined;
  /** Whether the store may have the events nevertheless. */
  isUncertain: boolean;
  /** The events of the request that failed. */
  events: Event[];
  /** Whether these are still collected: the next `flush` sends them, with the same key, so never twice. */
  isKept: boolean;
  /** What the same `flush` had sent before. */
  sent: SentEvent[];
}

/** What a step's `run` is called with. */
export interface Run {
  /** What earlier steps gave: the file of `--steps`. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the shape is the workflow's
  steps: Record<string, any>;
  $: {
    send: {
      /** Collects an event; it is sent after `run` has finished. */
      sse(event: Event): void;
    };
    /** `$summary` is shown. */
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

/** A step: `run`, and for component actions what they say of themselves, `props` and `methods`. */
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

/** Gives the component back; it is there for editors. */
export function defineComponent<const P extends Record<string, Prop> = {}, M = {}>(component: Component<P, M>): Component<P, M>;
