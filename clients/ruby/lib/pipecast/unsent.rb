# frozen_string_literal: true

require_relative "errors"

module Pipecast
  # No event is lost silently: senders that have unsent events are flushed when the process ends, and a failure is reported on
  # standard error.
  #
  # @api private
  module Unsent
    @senders = {}.compare_by_identity
    @lock = Mutex.new

    class << self
      def add(sender)
        @lock.synchronize { @senders[sender] = true }
      end

      def remove(sender)
        @lock.synchronize { @senders.delete(sender) }
      end

      def count(events)
        events == 1 ? "1 event" : "#{events} events"
      end

      # @return [Boolean] whether everything was sent
      def flush
        @lock.synchronize { @senders.keys }.map { |sender| flush_out(sender) }.all?
      end

      private

      # A forked process has none of its parent's events, see {Send}.
      def flush_out(sender)
        has_failed = false
        while sender.unsent.positive?
          begin
            sender.flush
          rescue PublishError => error
            has_failed = true
            lost = error.kept? ? sender.unsent : error.events.size
            Kernel.warn("pipecast: #{count(lost)} for pipeline #{sender.pipeline} not sent: #{error.message}")
            break if error.kept?
          end
        end
        !has_failed
      end
    end

    # Registered when the gem is loaded, so it runs after the handlers of the program, which may still collect events.
    at_exit do
      is_success = $!.nil? || ($!.is_a?(SystemExit) && $!.success?)
      # Only success becomes failure; an exit code that the process chose itself stays.
      exit(1) if !flush && is_success
    end
  end
  private_constant :Unsent
end
