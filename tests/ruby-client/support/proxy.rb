# frozen_string_literal: true

require "socket"
require "uri"

# A TCP proxy that can cut, refuse, delay and silence the connections that it carries.
class Proxy
  attr_reader :url, :connections

  def initialize(target)
    target = URI(target)
    @target = [target.host, target.port]
    @listener = TCPServer.new("127.0.0.1", 0)
    @url = "http://127.0.0.1:#{@listener.addr[1]}"
    @connections = []
    @is_refusing = @is_silent = @is_hasty = false
    @cut_text = @next_cut = nil
    @accepting = Thread.new { accept_all }
  end

  # Cuts the next connection that carries this text to a client, right after it.
  def cut_after(text)
    @cut_text = text.b
  end

  # Each connection is cut after as many bytes to the client as the block returns for it. With nil it is not.
  def cut_each(&bytes)
    @next_cut = bytes
  end

  # Ends every open connection. Bytes that were sent before still arrive.
  def cut
    @connections.each(&:close)
  end

  # Closes new connections before a byte is read.
  def refuse
    @is_refusing = true
  end

  def accept
    @is_refusing = false
  end

  # Drops what nodes send. They still get the requests.
  def silence
    @is_silent = true
  end

  def speak
    @is_silent = false
  end

  # Lets clients reconnect after 0.1 s, whatever the node asks for.
  def hurry
    @is_hasty = true
  end

  def requests
    @connections.map(&:request)
  end

  def stop
    @accepting.kill.join
    @listener.close
    cut
  end

  private

  def accept_all
    loop do
      client = @listener.accept
      next client.close if @is_refusing

      connection = Connection.new(client, TCPSocket.new(*@target), @next_cut&.call)
      @connections << connection
      Thread.new { connection.carry_request }
      Thread.new { carry_answer(connection) }
    end
  rescue IOError
    # It was stopped.
  end

  def carry_answer(connection)
    connection.answer_parts do |bytes|
      next if @is_silent

      bytes = bytes.gsub(/^retry: \d{4}$/n, "retry: 0100") if @is_hasty
      ending = ending_in(connection, bytes)
      connection.forward(ending ? bytes.byteslice(0, ending) : bytes)
      break if ending
    end
    connection.close
  end

  # Where the connection is to be cut in its next bytes.
  def ending_in(connection, bytes)
    if @cut_text && (found = (connection.answer + bytes).index(@cut_text))
      ending = found + @cut_text.bytesize - connection.answer.bytesize
      @cut_text = nil
      return ending
    end
    left = connection.cut_in && connection.cut_in - connection.answer.bytesize
    left if left && left <= bytes.bytesize
  end

  # One connection. `request` and `answer` are its bytes so far.
  class Connection
    attr_reader :request, :answer, :cut_in

    def initialize(client, upstream, cut_in)
      @client = client
      @upstream = upstream
      @cut_in = cut_in
      @request = "".b
      @answer = "".b
    end

    def carry_request
      loop do
        bytes = @client.readpartial(65_536)
        @request << bytes
        @upstream.write(bytes)
      end
    rescue IOError, SystemCallError
      close
    end

    def answer_parts
      loop { yield @upstream.readpartial(65_536) }
    rescue IOError, SystemCallError
      # The node has ended it, or it was cut.
    end

    def forward(bytes)
      @answer << bytes
      @client.write(bytes)
    end

    def close
      [@client, @upstream].each do |side|
        side.shutdown
      rescue IOError, SystemCallError
        # It is closed.
      ensure
        side.close
      end
    end
  end
  private_constant :Connection
end
