# frozen_string_literal: true

require "minitest"
require "open3"
require "rbconfig"

require "pipecast"

require_relative "node"
require_relative "proxy"
require_relative "web_server"

# A test case that ends what it has started.
class Case < Minitest::Test
  # Nothing listens there.
  REFUSED = "http://127.0.0.1:1025"
  SECRET = "a secret of forty bytes, only for tests!"

  # All cases share a node with default settings.
  def self.node
    @@node ||= Node.new
  end

  def setup
    @started = []
    @pipeline = Pipeline.new(Case.node)
  end

  def teardown
    @started.reverse_each { |one| one.respond_to?(:stop) ? one.stop : one.kill }
  end

  # A test that does not run proves nothing.
  def skip(reason = nil, _ = nil)
    flunk("skipped: #{reason}")
  end

  # Ends it with the test.
  def ending(started)
    @started << started
    started
  end

  def proxy(target = Case.node.url)
    ending(Proxy.new(target))
  end

  def answers(*answers)
    ending(WebServer.new(*answers))
  end

  def publisher(url = Case.node.url, pipeline: @pipeline.id, **options)
    Pipecast::Publisher.new(url:, pipeline:, **options)
  end

  def sender(url = Case.node.url, pipeline: @pipeline.id, **options)
    Pipecast::Send.new(url:, pipeline:, **options)
  end

  def subscriber(url = Case.node.url, pipeline: @pipeline.id, **options)
    Pipecast::Subscriber.new(url:, pipeline:, **options)
  end

  # Runs a program that uses the gem, to its end.
  #
  # @return [Array(String, Process::Status)] what it wrote, and how it ended
  def run_program(source)
    Open3.capture2e(Server.without_settings, RbConfig.ruby, "-w", "-e", "require 'pipecast'\n#{source}")
  end
end
