internal import Foundation

func logarithm(_ x: Double) -> Double { log(x) }
func cosine(_ x: Double) -> Double { cos(x) }
func environmentSeed() -> UInt64? { ProcessInfo.processInfo.environment["LLAMA_TEST_SEED"].flatMap { UInt64($0) } }
