# frozen_string_literal: true

require "json"

module Pipecast
  # An event that a {Subscriber} received.
  class Event
    # @return [String] a resume point: pass it as `last_event_id:` to continue after this event
    attr_reader :id

    # @return [String]
    attr_reader :channel

    # @return [String] the payload as JSON text
    attr_reader :data

    # @api private
    def initialize(id, channel, data)
      @id = id
      @channel = channel
      @data = data
    end

    # @return [Object] the payload; keys are strings
    # @raise [JSON::ParserError] if a stream that is not from Pipecast carries something else
    def payload
      JSON.parse(@data, max_nesting: false)
    end
  end

  # A notice that events were missed and cannot be replayed, for example because the history holds only the newest 100. Load the
  # current state from its source. What is still kept follows.
  class Gap
    # @return [String] a resume point after which the same gap is not reported again
    attr_reader :id

    # @return [String] `trimmed`, `reset`, `unknown` or `slow`
    attr_reader :reason

    # @return [String, nil] the resume point that the stream continued from
    attr_reader :after

    # @return [Integer, nil] the number of missed events, nil if it is unknown
    attr_reader :missed

    # @api private
    def initialize(id, data)
      @id = id
      @reason, @after, @missed = JSON.parse(data).values_at("reason", "after", "missed")
    end
  end
end
