import pipecast = require('pipecast');

const send: pipecast.Send = pipecast.createSend({ pipeline: 'p' });
send.sse({ channel: 'names', payload: 1 });
