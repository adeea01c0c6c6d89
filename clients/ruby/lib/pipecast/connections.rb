# frozen_string_literal: true

require_relative "http"

module Pipecast
  # Keeps connections open for the next request, of any publisher of this process: a program may have one for each pipeline.
  # Threads that publish at the same time have a connection each.
  #
  # @api private
  class Connections
    # Shorter than the idle timeout of any load balancer, so that few requests meet a connection that is closing.
    IDLE = 15.0
    # Maximum number of connections to keep.
    KEPT = 32
    private_constant :IDLE, :KEPT

    def initialize
      @lock = Mutex.new
      @idle = []
      @process = Process.pid
    end

    @shared = new

    class << self
      attr_reader :shared
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
        @idle.shift[1].drop if @idle.size > KEPT
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
