# frozen_string_literal: true

require_relative "visible"

module Pipecast
  # The superclass of this gem's errors. Wrong arguments raise ArgumentError or TypeError instead.
  class Error < StandardError
    # @return [Integer, nil] the HTTP status; nil if there was no response
    attr_reader :status

    # @return [String, nil] the detail of the response, unchanged; it says what to do
    attr_reader :detail

    # @api private
    def initialize(message, status: nil, detail: nil)
      # The message gets printed, and parts of it come from a response or a certificate.
      super(Visible.line(message))
      @status = status
      @detail = detail
    end
  end

  # An event that was sent. {SentEvent#id} is nil in the events of a {PublishError}.
  #
  # The payload is what JSON makes of the one that was passed in: keys are strings.
  SentEvent = Struct.new(:id, :channel, :payload, keyword_init: true)

  # Why events were not acknowledged.
  class PublishError < Error
    # @return [Array<SentEvent>] the events of the request that failed
    attr_reader :events

    # @return [Array<SentEvent>] what the same call stored before the failure
    attr_reader :sent

    # @api private
    attr_writer :uncertain, :kept, :events, :sent

    # @api private
    def initialize(message, status: nil, detail: nil, uncertain: false)
      super(message, status: status, detail: detail)
      @uncertain = uncertain
      @kept = false
      @events = []
      @sent = []
    end

    # Whether the events may have been stored despite the error.
    def uncertain?
      @uncertain
    end

    # Whether the events are still collected. The next {Send#flush} sends them with the same key, so never twice.
    def kept?
      @kept
    end
  end

  # Why a stream cannot be read: a node rejected the request for good, or the response is not a stream.
  class SubscribeError < Error
  end
end
