"""What the bits of the alarm word, the status word and of bit-coded items say."""

from greenhaul_protocols.jt808.notes import BitNames

# Clause 8.18, the table of alarm bits. A year: from that edition on.
ALARM_BITS = BitNames(
    {
        0: "emergency",
        1: "overspeed",
        2: "fatigue",
        3: {2011: "early_warning", 2013: "danger_warning", 2019: "dangerous_driving"},
        4: "gnss_fault",
        5: "gnss_antenna_open",
        6: "gnss_antenna_short",
        7: "main_power_low",
        8: "main_power_lost",
        9: "display_fault",
        10: "tts_fault",
        11: "camera_fault",
        12: {2013: "ic_card_fault"},
        13: {2013: "overspeed_warning"},
        14: {2013: "fatigue_warning"},
        15: {2019: "illegal_driving"},
        16: {2019: "tyre_pressure"},
        17: {2019: "right_turn_blind_area"},
        18: "daily_driving_overtime",
        19: "parking_overtime",
        20: "area_crossing",
        21: "route_crossing",
        22: "segment_time",
        23: "route_deviation",
        24: "vss_fault",
        25: "fuel_abnormal",
        26: "stolen",
        27: "illegal_ignition",
        28: "illegal_move",
        29: {2013: "collision"},
        30: {2013: "rollover_warning"},
        31: {2013: "illegal_door_open", 2019: ""},
    }
)

# Clause 8.18, the table of status bits. 2011 ends at bit 12.
STATUS_BITS = BitNames(
    {
        0: "acc_on",
        1: "located",
        2: "south",
        3: "west",
        4: "out_of_service",
        5: "coordinates_encrypted",
        6: {2019: "forward_collision_warning"},
        7: {2019: "lane_departure_warning"},
        8: {2013: "load_half"},
        9: {2013: "load_reserved"},  # with bit 8: full
        10: "fuel_cut",
        11: "circuit_cut",
        12: "doors_locked",
        13: {2013: "door_front_open"},
        14: {2013: "door_middle_open"},
        15: {2013: "door_rear_open"},
        16: {2013: "door_driver_open"},
        17: {2013: "door_other_open"},
        18: {2013: "gps_used"},
        19: {2013: "beidou_used"},
        20: {2013: "glonass_used"},
        21: {2013: "galileo_used"},
        22: {2019: "moving"},
    }
)

VEHICLE_SIGNAL_BITS = BitNames(
    dict(
        enumerate(
            (
                "low_beam",
                "high_beam",
                "right_turn",
                "left_turn",
                "brake",
                "reverse",
                "fog_light",
                "outline_light",
                "horn",
                "air_conditioning",
                "neutral",
                "retarder",
                "abs",
                "heater",
                "clutch",
            )
        )
    )
)

IO_BITS = BitNames({0: "deep_sleep", 1: "sleep"})

VIDEO_ALARM_BITS = BitNames(
    {
        0: "signal_loss",
        1: "covered",
        2: "storage_fault",
        3: "other_fault",
        4: "bus_overload",
        5: "abnormal_driving",
        6: "alarm_storage_full",
    }
)

CHANNEL_BITS = BitNames({number: f"channel_{number + 1}" for number in range(32)})

# Twelve stores, then four in reserve.
STORAGE_FAULT_BITS = BitNames(
    {number: f"store_{number + 1}" for number in range(12)}
    | {number + 12: f"backup_{number + 1}" for number in range(4)}
)

ABNORMAL_DRIVING_BITS = BitNames({0: "fatigue", 1: "phone", 2: "smoking"})
