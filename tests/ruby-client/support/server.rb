# frozen_string_literal: true

require "tempfile"

require_relative "deadline"

# A child process. It is ended by its id, at the latest when this process ends.
class Server
  @running = []

  class << self
    attr_reader :running
  end

  # This process's environment has variables that belong to the tests.
  def self.without_settings
    ENV.keys.grep(/\APIPECAST_/).to_h { |name| [name, nil] }
  end

  at_exit do
    # A forked process has not started them.
    Server.running.select { |server| server.parent == Process.pid }.each(&:kill)
  end

  attr_reader :pid, :parent

  def initialize(*command, env: {}, **options)
    @output = Tempfile.new("output")
    @pid = Process.spawn(Server.without_settings.merge(env), *command, in: File::NULL, out: @output.path, err: [:child, :out], **options)
    @parent = Process.pid
    Server.running << self
  end

  # Everything that it has written.
  def output
    File.read(@output.path)
  end

  # The block says whether the server is ready.
  def await_ready
    Deadline.until("the server is ready", describe: -> { output }) do
      raise "the server ended with #{@status}: #{output}" if ended?

      yield
    end
  end

  def ended?
    @status ||= Process.wait2(@pid, Process::WNOHANG)&.last
    !@status.nil?
  end

  def await_end
    Deadline.until("the process ends", describe: -> { output }) { ended? }
    @status
  end

  def signal(name)
    Process.kill(name, @pid) unless ended?
  end

  # Ends it without a chance to close anything. May be called again.
  def kill
    Server.running.delete(self)
    signal(:KILL)
    @status ||= Process.wait2(@pid).last
  end
end
