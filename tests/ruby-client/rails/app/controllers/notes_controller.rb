# frozen_string_literal: true

class NotesController < ApplicationController
  def create
    Note.create!(user: current_user, text: params.require(:text))
    head :no_content
  end
end
