"""A shipping policy in Python: so much for a parcel and for each piece in it, more abroad, nothing for large orders."""

from wit_world.exports import ShippingRate as Interface
from wit_world.exports.shipping_rate import Method, Question

HOME = "GB"
FREE_FROM = 50_00


class ShippingRate(Interface):
    def methods(self, question: Question) -> list[Method]:
        home = question.country == HOME
        parcel, piece, days = (3_50, 25, 3) if home else (9_90, 1_00, 8)
        rate = 0 if home and question.amount >= FREE_FROM else parcel + piece * question.pieces
        return [
            Method("standard", "Standard", rate, days),
            Method("express", "Express", rate * 2 + 5_00, max(1, days // 3)),
        ]
