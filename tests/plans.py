"""The plans that come with the service, by name."""

from __future__ import annotations

from types import MappingProxyType

from service.price_files import shipped_plans

PLANS = MappingProxyType({plan.name: plan for plan in shipped_plans()})
plan_named = shipped_plans().named
