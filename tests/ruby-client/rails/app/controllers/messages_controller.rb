# frozen_string_literal: true

class MessagesController < ApplicationController
  def index
    respond_to do |format|
      format.html
      format.json { render json: ReceivedEvent.order(:id).pluck(:event_id, :payload) }
    end
  end

  def create
    publisher = Pipecast::Publisher.new(pipeline: "p_user_#{current_user}")
    publisher.publish(channel: "messages", payload: { text: params.require(:text), at: Time.current })
    head :no_content
  rescue Pipecast::PublishError => error
    logger.error("Pipecast: #{error.message}")
    head :service_unavailable
  end
end
