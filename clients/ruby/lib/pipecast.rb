# frozen_string_literal: true

# Publish to and subscribe to Pipecast, a broker for Server-Sent Events.
#
# {Pipecast::Publisher} publishes events and waits until they are stored. {Pipecast::Send} collects events and sends them
# together, in as few requests as the limits of nodes allow. Both retry unacknowledged requests with the same
# Idempotency-Key, so nothing is stored twice. {Pipecast::Subscriber} receives events, and reconnects and resumes like a
# browser's EventSource.
module Pipecast
end

require_relative "pipecast/version"
require_relative "pipecast/errors"
require_relative "pipecast/publisher"
require_relative "pipecast/send"
require_relative "pipecast/subscriber"
