# frozen_string_literal: true

require_relative "http"

module Pipecast
  # Keeps connections open for the next request. Threads that publish at the same time have one each.
  #
  # @api private
  class Connections
    # Shorter than the idle timeout of any load balancer, so that few requests meet a connection that is closing.
    IDLE = 15.0
    private_constant :IDLE

    def initialize
      @lock = Mutex.new
      @idle = []
      @process = Process.pid
    end

    # @return [Http::Connection, nil] a kept connection to this origin
    def take(uri)
      @lock.synchronize do
        forget_inherited
        now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        stale, @idle = @idle.partition { |_, _, since| now - since > IDLE }
        stale.each { |_, connection, _| connection.drop }
        index = @idle.rindex { |origin, _, _| origin == uri.origin }
        index && @idle.delete_at(index)[1]
      end
    end

    # Keeps a connection whose last response was read to its end.
    def keep(uri, connection)
      @lock.synchronize do
        forget_inherited
        @idle << [uri.origin, connection, Process.clock_gettime(Process::CLOCK_MONOTONIC)]
      end
    end

    private

    # A forked process shares its parent's sockets. It neither uses nor ends these connections.
    def forget_inherited
      return if @process == Process.pid

      @process = Process.pid
      @idle = []
    end
  end
  private_constant :Connections
end
