"""Sun, cooling, machines, hot water and people in a home, and the electricity that all of it takes."""

import pytest
from small_home import noun

from openmimo.environments.home import Home, call_tool
from openmimo.environments.home.appliances import make_appliance
from openmimo.environments.home.devices import make_device
from openmimo.environments.home.people import Person, Stay
from openmimo.environments.home.thermal import Room, Weather, cooling_efficiency, heating_efficiency
from openmimo.environments.sky import Sky

NOON_S = 12 * 3600.0
TIGHT = {"loss_w_k": 0.0, "neighbour_w_k": 0.0}


def home_of(*devices, outside_c: float = 10.0, clock_s: float = NOON_S, sky: Sky | None = None, **room) -> Home:
    """A home of one kitchen, at 20 °C unless said otherwise, where it is always equally warm outside."""
    return Home(list(devices), {"kitchen": Room(**{"temperature_c": 20.0} | room)}, Weather(outside_c, 0.0), clock_s,
                sky=sky)  # fmt: skip


def light(**state):
    return make_device(noun("light", "lamp"), "lamp", "kitchen", **state)


def test_a_lamp_uses_its_power_and_warms_its_room():
    home = home_of(light(is_on=True, brightness=50), **TIGHT)
    assert home.power_w() == 4.0  # 8 W at half brightness.
    home.advance(3600)
    assert home.electric_j == pytest.approx(4 * 3600)
    assert home.rooms["kitchen"].temperature_c - 20 == pytest.approx(4 * 3600 / 1.5e6)


def test_a_kettle_that_stays_on_boils_once():
    kettle = make_device(noun("switch", "kettle"), "kettle", "kitchen")
    home = home_of(kettle)
    kettle.turn_on()
    home.advance(30)
    assert home.power_w() == 2000
    home.advance(3600)
    assert home.electric_j == pytest.approx(2000 * 240)
    assert home.power_w() == 0
    kettle.turn_off()
    home.advance(60)
    kettle.turn_on()
    assert home.power_w() == 2000


def test_the_sun_comes_through_windows_and_a_closed_blind_keeps_four_fifths_out():
    blind = make_device(noun("cover", "blind"), "blind", "kitchen", position=100.0, target=100)
    home = home_of(blind, sky=Sky(48.0, 80), window_m2=2.0, **TIGHT)
    dark = home.copy()
    dark.devices[0].position, dark.devices[0].target = 0.0, 0
    sun_j = 60 * 0.6 * 2.0 * Sky(48.0, 80).irradiance_w_m2(NOON_S, 90, 180)
    home.advance(60)
    dark.advance(60)
    assert home.heat.gained_j == pytest.approx(sun_j)
    assert sun_j > 60 * 700
    assert dark.heat.gained_j == pytest.approx(0.2 * sun_j)


def test_heat_pump_efficiency_is_that_of_the_published_fit():
    # 6.08 - 0.09 L + 0.0005 L² with a lift L of 40 K at 0 °C and of 60 K at -10 °C.
    assert heating_efficiency(0.0) == pytest.approx(3.28)
    assert heating_efficiency(-10.0) == pytest.approx(2.48)
    assert cooling_efficiency(35.0) == pytest.approx(2.83)  # 30 K, less the 1 that is the compressor's own heat.


def test_heating_takes_heat_over_efficiency_in_electricity():
    home = home_of(make_device(noun("climate", "radiator"), "radiator", "kitchen", set_point_c=22.0), outside_c=0.0)
    assert home.power_w() == pytest.approx(1500 / 3.28)  # 2 K below the set point: full power.
    home.advance(6 * 3600)
    assert home.electric_j == pytest.approx(home.heat.heated_j / 3.28)


def test_an_air_conditioner_cools_a_hot_room_and_all_heat_is_accounted_for():
    cooler = make_appliance("climate", "air conditioner", "cooler", "kitchen", set_point_c=23.0)
    cooler.set_mode("cool")
    home = home_of(cooler, outside_c=33.0, temperature_c=29.0, gains_w=200.0)
    assert home.row(cooler) == "climate kitchen: cooler, cool 23 °C, now 29 °C"
    home.advance(8 * 3600)
    # At rest 25 W/K * 9.6 K + 200 W = 800 W/K * 0.55 K.
    assert home.rooms["kitchen"].temperature_c == pytest.approx(23.5, abs=0.1)
    heat = home.heat
    assert heat.heated_j == 0
    assert heat.heated_j + heat.gained_j == pytest.approx(heat.cooled_j + heat.lost_j + heat.stored_j)
    assert home.electric_j == pytest.approx(heat.cooled_j / cooling_efficiency(33.0))
    assert cooler.commanded() == ("cool", 23.0)
    cooler.turn_off()
    assert (cooler.word(), cooler.commanded()) == ("off", (False,))
    with pytest.raises(ValueError, match="must be heat, cool or off"):
        cooler.set_mode("freeze")


def test_a_washing_machine_runs_its_programme_and_is_done():
    machine = make_appliance("appliance", "washing machine", "washing machine", "kitchen")
    home = home_of(machine, **TIGHT)
    assert home.row(machine) == "appliance kitchen: washing machine, off"
    assert machine.start() == "running 90 min left"
    home.advance(10 * 60)
    assert home.row(machine) == "appliance kitchen: washing machine, running 80 min left"
    assert home.power_w() == 1900  # It heats its water.
    home.advance(79 * 60 + 30)
    assert home.row(machine).endswith("running 1 min left")
    home.advance(3600)
    assert home.row(machine).endswith("done")
    used_j = 60 * (5 * 80 + 25 * 1900 + 45 * 120 + 15 * 350)
    assert home.electric_j == pytest.approx(used_j)  # About 0.98 kWh.
    assert home.heat.gained_j == pytest.approx(used_j / 2)
    assert machine.commanded() == (True,)
    machine.stop()
    assert (machine.commanded(), machine.word()) == ((False,), "off")


def test_a_tank_balances_heater_losses_and_showers():
    tank = make_appliance("water_heater", "boiler", "boiler", "kitchen", temperature_c=50.0)
    home = home_of(tank)
    # 40 l at 40 °C within a quarter of an hour, from water of 10 °C.
    home.people = [Person("maria", (Stay(NOON_S, "kitchen", "awake", 40.0), Stay(NOON_S + 900, "kitchen")))]
    assert home.row(tank) == "water_heater kitchen: boiler, heat 55 °C, now 50 °C"
    home.advance(900)
    assert tank.drawn_j == pytest.approx(40 * 4186 * 30)
    home.advance(4 * 3600)
    assert tank.temperature_c == pytest.approx(55.0, abs=0.1)
    stored_j = 200 * 4186 * (tank.temperature_c - 50)
    lost_j = home.heat.gained_j - (4 * 3600 + 900) * 100  # What is not maria's is the tank's.
    assert home.electric_j == pytest.approx(stored_j + tank.drawn_j + lost_j)
    assert lost_j / (4 * 3600 + 900) == pytest.approx(1.7 * 34, rel=0.1)


def test_a_tank_that_is_off_runs_cold_and_never_below_its_supply():
    tank = make_appliance("water_heater", "boiler", "boiler", "kitchen", temperature_c=45.0, is_heating=False)
    home = home_of(tank)
    home.people = [Person("maria", (Stay(0.0, "kitchen", "awake", 20_000.0), Stay(86400.0, "kitchen")))]
    home.advance(11.9 * 3600)
    assert 9.9 < tank.temperature_c < 20.0


def test_a_vacuum_cleans_room_by_room_goes_home_and_charges():
    robot = make_appliance("vacuum", "vacuum", "vacuum", "kitchen", rooms=("kitchen", "hall"), battery=90.0)
    home = home_of(robot, **TIGHT)
    home.rooms["hall"] = Room(20.0)
    assert home.row(robot) == "vacuum kitchen: vacuum, docked 90%"
    robot.start()
    home.advance(300)
    assert home.row(robot) == "vacuum kitchen: vacuum, cleaning kitchen 87%"  # A percent in 90 s.
    home.advance(900)
    assert robot.said() == "cleaning hall"
    home.advance(600)
    assert robot.word() == "returning"
    home.advance(60)
    assert robot.word() == "docked"
    assert robot.battery == pytest.approx(90 - 1860 / 90)
    home.advance(6 * 3600)
    assert home.row(robot) == "vacuum kitchen: vacuum, docked 100%"
    # 30.7 % at 120 s a percent, 30 W: the standby of a full dock is not counted.
    assert home.electric_j == pytest.approx(30 * 120 * (10 + 1860 / 90))


def test_a_vacuum_sent_home_drives_there_and_one_that_is_empty_charges_before_it_goes_on():
    robot = make_appliance("vacuum", "vacuum", "vacuum", "kitchen", rooms=("kitchen",) * 9)
    home = home_of(robot)
    robot.start()
    home.advance(120)
    robot.return_home()
    assert (robot.word(), robot.commanded()) == ("returning", (False,))
    home.advance(60)
    assert robot.word() == "docked"
    robot.start()
    home.advance(85 * 90 + 120)
    assert (robot.word(), len(robot.todo)) == ("docked", 1)
    home.advance(65 * 120)
    assert robot.word() == "cleaning"


def test_a_volume_is_shown_where_there_is_one():
    radio = make_device(noun("media_player", "radio"), "radio", "kitchen")
    home = home_of(radio)
    radio.turn_on()
    assert home.row(radio) == "media_player kitchen: radio, on"
    assert radio.set_volume(35) == "on at volume 35%"
    assert home.row(radio) == "media_player kitchen: radio, on 35%"
    assert radio.commanded() == (True, 35)


def test_people_follow_their_calendar_warm_the_room_they_are_in_and_are_seen():
    sensor = make_device(noun("binary_sensor", "motion sensor"), "motion sensor", "kitchen")
    home = home_of(sensor, clock_s=7 * 3600.0, **TIGHT)
    week = (Stay(0.0, "kitchen", "asleep"), Stay(7.5 * 3600, "kitchen"), Stay(8 * 3600.0, "away", "at work"))
    home.people = [Person("tom", (*week, Stay(17.5 * 3600, "kitchen")))]
    assert home.listing().endswith("- person kitchen: tom, asleep")
    home.advance(3600)
    assert home.heat.gained_j == 1800 * 70 + 1800 * 100
    assert home.listing().endswith("- person away: tom, at work until 17:30")
    assert home.row(sensor).endswith("detected")  # As it was at the start of the last minute.
    home.advance(3600)
    assert home.row(sensor).endswith("clear")
    assert home.heat.gained_j == 1800 * 70 + 1800 * 100
    home.advance(9 * 3600)
    assert home.listing().endswith("- person kitchen: tom, awake")
    home.advance(6 * 86400)  # The week's last stay goes on until the first begins again.
    assert home.clock == "18:00"
    assert home.listing().endswith("awake")


def test_moisture_comes_to_rest_where_fresh_air_takes_what_people_give():
    home = home_of(volume_m3=50.0, vapour_pa=1500.0, **TIGHT)
    home.people = [Person("maria", (Stay(0.0, "kitchen"),))]
    # 0.4 changes an hour of 50 m³ take 20 m³/h: 50 g/h are 2.5 g/m³, at 293 K and 461.5 J/(kg K) 338 Pa.
    # Outside three quarters of 1228 Pa at 10 °C: 921 Pa.
    room = home.rooms["kitchen"]
    room.gains_w = -100.0  # Maria's heat, so that it stays at 20 °C.
    home.advance(2.5 * 3600)  # One change of air.
    assert room.vapour_pa == pytest.approx(1259 + (1500 - 1259) / 2.71828, abs=3)
    home.advance(48 * 3600)
    assert room.vapour_pa == pytest.approx(1259, abs=3)


def test_a_shower_is_seen_by_the_hygrometer_and_an_exhaust_fan_clears_the_air():
    sensor = make_device(noun("sensor", "hygrometer"), "hygrometer", "kitchen")
    fan = make_device(noun("fan", "exhaust fan"), "exhaust fan", "kitchen")
    home = home_of(sensor, fan, volume_m3=25.0, vapour_pa=1100.0)
    home.people = [Person("maria", (Stay(NOON_S, "kitchen", "awake", 40.0), Stay(NOON_S + 900, "away", "at work")))]
    assert home.row(sensor).endswith("47%")
    home.advance(900)
    steamy = int(home.row(sensor).split()[-1].rstrip("%"))
    assert steamy > 75
    vented = home.copy()
    vented.named("exhaust fan").turn_on()
    home.advance(1800)
    vented.advance(1800)
    assert vented.rooms["kitchen"].vapour_pa < home.rooms["kitchen"].vapour_pa - 300


def test_an_open_garage_door_lets_the_cold_in():
    gate = make_device(noun("cover", "garage door"), "garage door", "kitchen", position=100.0, target=100)
    home = home_of(gate, outside_c=0.0, **TIGHT)
    home.advance(60)
    assert home.heat.lost_j == pytest.approx(200 * 20 * 60)
    gate.turn_off()
    assert home.power_w() == 150
    home.advance(60)
    assert home.electric_j == pytest.approx(150 * 20)  # The motor runs for 20 s of the minute.


def test_two_kinds_of_time_give_the_same_home():
    def furnished() -> Home:
        tank = make_appliance("water_heater", "boiler", "boiler", "kitchen")
        robot = make_appliance("vacuum", "vacuum", "vacuum", "kitchen", rooms=("kitchen",))
        robot.start()
        return home_of(tank, robot, light(is_on=True), sky=Sky(48, 172, 0.4), window_m2=3.0)

    one, many = furnished(), furnished()
    one.advance(7200)
    for _ in range(120):
        many.advance(60)
    assert one.state() == many.state()
    assert one.electric_j == many.electric_j


def lived_in() -> Home:
    devices = [
        make_appliance("appliance", "dishwasher", "dishwasher", "kitchen"),
        make_appliance("vacuum", "robot vacuum", "robot", "kitchen", rooms=("kitchen",)),
        make_appliance("water_heater", "boiler", "boiler", "kitchen"),
        make_appliance("climate", "air conditioner", "cooler", "kitchen", is_heating=False),
        make_device(noun("media_player", "radio"), "radio", "kitchen", volume=30),
        make_device(noun("media_player", "tv"), "tv", "kitchen"),
    ]
    return home_of(*devices)


@pytest.mark.parametrize(
    ("tool", "arguments", "success"),
    [
        ("HassTurnOn", {"name": "dishwasher"}, "dishwasher: running 105 min left"),
        ("HassTurnOn", {"domain": "appliance"}, "dishwasher: running 105 min left"),
        ("HassTurnOff", {"name": "dishwasher"}, "dishwasher: off"),
        ("HassTurnOff", {"name": "boiler"}, "boiler: off"),
        ("HassTurnOn", {"name": "cooler"}, "cooler: on, to cool"),
        ("HassClimateSetTemperature", {"name": "cooler", "temperature": 24}, "cooler: set to 24 °C"),
        ("HassVacuumStart", {}, "robot: cleaning kitchen"),
        ("HassVacuumReturnToBase", {}, "robot: docked"),
        ("HassSetVolume", {"name": "radio", "volume_level": 15}, "radio: on at volume 15%"),
        ("HassSetVolume", {"area": "kitchen", "volume_level": 15}, "radio: on at volume 15%"),
        ("HassTurnOff", {"area": "kitchen"}, None),  # Lamps and screens; machines only by name or domain.
    ],
)
def test_machines_are_worked_by_the_same_tools(tool, arguments, success):
    home = lived_in()
    result = call_tool(home, tool, arguments)
    assert result == {"success": [success] if success else ["radio: off", "tv: off"]}


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("HassSetVolume", {"name": "tv", "volume_level": 20}, "unsupported"),
        ("HassSetVolume", {"name": "radio", "volume_level": 101}, "invalid_value"),
        ("HassSetVolume", {"name": "radio"}, "missing_parameter"),
        ("HassSetPosition", {"name": "dishwasher", "position": 5}, "unsupported"),
        ("HassTurnOn", {"name": "robot"}, "unsupported"),
    ],
)
def test_what_a_machine_cannot_do_is_refused(tool, arguments, code):
    home = lived_in()
    before = home.state()
    assert call_tool(home, tool, arguments)["error"] == code
    assert home.state() == before


def test_without_a_robot_none_is_sent_home():
    assert call_tool(home_of(), "HassVacuumReturnToBase", {})["error"] == "not_found"


def test_a_door_sensor_sees_who_comes_and_goes():
    door = make_appliance("binary_sensor", "door sensor", "door sensor", "kitchen")
    home = home_of(door, clock_s=8 * 3600.0 - 60, **TIGHT)
    stays = (Stay(0.0, "kitchen"), Stay(8 * 3600.0, "kitchen", "leaving"), Stay(8 * 3600.0 + 120, "away", "at work"))
    home.people = [Person("tom", stays)]
    seen = []
    for _ in range(4):
        home.advance(60)
        seen.append(door.word())
    assert seen == ["closed", "open", "open", "closed"]
    assert home.row(door) == "binary_sensor kitchen: door sensor, closed"
    assert home.heat.lost_j == pytest.approx(2 * 60 * 150 * 10, rel=0.02)
